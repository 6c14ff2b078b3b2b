"""The app is told who asks, where its owner wants that, and nobody can say that they are somebody else."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.test import Client

from apps.accounts.models import User
from apps.gateway.access import frame_url
from apps.spaces.models import Space
from apps.spaces.services import set_password, set_tells_username
from tests.gateway.asgi_client import get, websocket
from tests.gateway.test_access import make_token, sign_in
from tests.gateway.test_links import jar, made

pytestmark = pytest.mark.django_db(transaction=True)
NAME = "x-portico-user"


@pytest.fixture
async def telling(space: Space) -> Space:
    await sync_to_async(set_tells_username)(space, True)
    return space


async def told(space: Space, headers: dict[str, str], host: str = "", path: str = "/x") -> str | None:
    answer = await get(host or space.host, path, headers=headers)
    assert answer.status == 200
    return dict(answer.json()["headers"]).get(NAME)


async def test_a_signed_in_visitor_and_a_program_are_told(telling: Space, stranger: User) -> None:
    cookie, token = await sign_in(telling, stranger), {"Authorization": f"Bearer {await make_token(stranger)}"}
    assert await told(telling, cookie) == stranger.username
    assert await told(telling, token) == stranger.username
    assert await told(telling, token, "localhost:8000", f"/run/{telling.slug}/x") == stranger.username
    assert await told(telling, {**cookie, "Origin": f"http://{telling.host}"}) == stranger.username
    assert await told(telling, {}) is None


async def test_a_websocket_is_told_too(telling: Space, stranger: User, upstream: tuple[int, dict[str, Any]]) -> None:
    own = {**await sign_in(telling, stranger), "Origin": f"http://{telling.host}"}
    assert (await websocket(telling.host, "/socket", headers=own).hear())["type"] == "websocket.accept"
    assert upstream[1]["handshake"][NAME] == stranger.username


async def test_nobody_can_claim_a_name(telling: Space, owner: User, stranger: User) -> None:
    cookie = await sign_in(telling, stranger)
    for spelling in ("X-Portico-User", "x-portico-user", "X_Portico_User", "X-Portico_User"):
        claim = {spelling: owner.username}
        answer = await get(telling.host, "/x", headers=claim)
        assert not [name for name, _ in answer.json()["headers"] if "portico" in name]
        assert await told(telling, {**claim, **cookie}) == stranger.username


async def test_it_is_off_at_first_and_the_claim_does_not_pass_then_either(space: Space, owner: User) -> None:
    token = {"Authorization": f"Bearer {await make_token(owner)}"}
    for headers in (await sign_in(space, owner), token, {"X-Portico-User": owner.username}):
        assert await told(space, headers) is None


async def test_another_sites_script_does_not_ask_in_a_visitors_name(telling: Space, stranger: User) -> None:
    cookie = await sign_in(telling, stranger)
    assert await told(telling, {**cookie, "Origin": "https://blog.example"}) is None


async def test_a_cookie_that_has_ended_names_nobody(
    telling: Space, stranger: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.gateway.access.RIGHT_SECONDS", 0)
    cookie = await sign_in(telling, stranger)
    stranger.set_password("another")
    await stranger.asave()
    assert await told(telling, cookie) is None, "signed out everywhere"
    cookie = await sign_in(telling, stranger)
    stranger.is_active = False
    await stranger.asave()
    assert await told(telling, cookie) is None


async def test_whoever_comes_by_a_link_or_password_has_no_name(telling: Space, owner: User) -> None:
    await sync_to_async(set_password)(telling, "open sesame")
    _, path = await made(telling)
    assert await told(telling, jar(await get(telling.host, path))) is None
    assert await told(telling, await sign_in(telling, owner)) == owner.username


async def test_the_portal_signs_its_visitors_in_and_says_so(telling: Space, stranger: User) -> None:
    def look() -> None:
        assert "__sign=" in frame_url(telling, stranger)
        assert "__sign=" not in frame_url(telling, AnonymousUser())
        client = Client(headers={"host": "localhost"})
        assert b"The app is told" not in client.get(f"/spaces/{telling.slug}").content
        client.force_login(stranger)
        assert b"The app is told that you are" in client.get(f"/spaces/{telling.slug}").content

    await sync_to_async(look)()
