"""A Space under its custom domain: the same rules, under another name."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from apps.accounts.models import User
from apps.gateway.requests import custom_domain, is_for_gateway
from apps.spaces.domains import remove_domain
from apps.spaces.models import Domain, Space
from tests.gateway.asgi_client import ask, get, scope_for, websocket, without_id
from tests.gateway.test_access import NAVIGATION, jar
from tests.gateway.test_links import made

pytestmark = pytest.mark.django_db(transaction=True)
NAME = "demo.example.org"


@pytest.fixture
async def named(space: Space) -> Space:
    await Domain.objects.acreate(space=space, name=NAME, verified_at=timezone.now())
    return space


@pytest.fixture
async def private_named(private_space: Space) -> Space:
    await Domain.objects.acreate(space=private_space, name=NAME, verified_at=timezone.now())
    return private_space


@pytest.mark.parametrize("host", [NAME, f"{NAME}:8000", "DEMO.example.org", f"{NAME}."])
async def test_a_verified_domain_is_its_space(named: Space, host: str) -> None:
    answer = await get(host, "/x")
    assert answer.status == 200
    seen = dict(answer.json()["headers"])
    assert seen["host"] == seen["x-forwarded-host"] == host.lower()
    assert (await websocket(host, "/socket", headers={"Origin": f"http://{host.lower()}"}).hear())[
        "type"
    ] == "websocket.accept"


async def test_a_pending_domain_is_nothing_and_says_what_an_unknown_one_does(space: Space) -> None:
    await Domain.objects.acreate(space=space, name=NAME)
    pending, unknown = (
        await get(NAME, "/x", headers=NAVIGATION),
        await get("nobody.example.org", "/x", headers=NAVIGATION),
    )
    assert pending.status == 404 and (without_id(pending), pending.body) == (without_id(unknown), unknown.body)


async def test_a_private_space_is_no_more_told_there_than_elsewhere(private_named: Space) -> None:
    real, none = (
        await get(NAME, "/x?__sign=y", headers=NAVIGATION),
        await get("no.example.org", "/x?__sign=y", headers=NAVIGATION),
    )
    assert real.status == 404 and (without_id(real), real.body) == (without_id(none), none.body)
    _, path = await made(private_named)
    first = await get(NAME, path)
    assert (first.status, first.get("location")) == (303, "/") and "domain" not in (
        first.get("set-cookie") or ""
    ).lower()
    assert (await get(NAME, "/x", headers=jar(first))).status == 200
    other = {**jar(first), "Origin": f"http://{private_named.host}"}
    assert (await get(NAME, "/x", headers=other)).get("access-control-allow-origin") is None
    own = {**jar(first), "Origin": f"http://{NAME}"}
    assert (await get(NAME, "/x", headers=own)).get("access-control-allow-origin") == f"http://{NAME}"


async def test_an_apps_cookies_stay_with_the_host(named: Space) -> None:
    set_cookies = (await get(NAME, "/cookies")).all("set-cookie")
    assert set_cookies and not any("domain=" in c.lower() for c in set_cookies)


async def test_run_means_nothing_there(named: Space) -> None:
    path = f"/run/{named.slug}/x"
    assert (await get(NAME, path)).json()["target"] == path, "the app's own path"
    assert (await get("nobody.example.org", f"/run/{named.slug}/x")).status == 404


async def test_a_removed_domain_is_gone_at_once(named: Space) -> None:
    assert (await get(NAME, "/x")).status == 200
    await sync_to_async(remove_domain)(named, NAME)
    for _ in range(100):
        if (await get(NAME, "/x")).status == 404:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("still served after two seconds")


async def test_the_portal_is_never_a_custom_domain(named: Space, owner: User) -> None:
    """Not even where a row says so."""
    await Domain.objects.acreate(space=named, name="localhost", verified_at=timezone.now())
    for host in ("localhost:8000", "127.0.0.1:8000", "testserver", "10.0.0.1", "[::1]:8000", "web", "a_b.example.org"):
        assert custom_domain(host) is None, host
        assert not is_for_gateway(scope_for("GET", host, "/", None, "203.0.113.9")), host  # type: ignore[arg-type]
    assert (await ask("GET", "localhost:8000", "/healthz")).text == "ok\n"


async def test_a_host_without_end_is_refused(named: Space) -> None:
    assert (await get("a." * 4000 + "org", "/x")).status == 400
