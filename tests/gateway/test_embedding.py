"""Who may frame a Space, said with every answer of its host."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async

from apps.accounts.models import User
from apps.gateway.asgi import current
from apps.spaces.models import Space
from apps.spaces.services import set_embedding, set_password
from tests.gateway.asgi_client import Exchange, ask, get
from tests.gateway.conftest import MakeSpace
from tests.gateway.test_access import NAVIGATION, jar, make_token
from tests.gateway.test_links import made
from tests.gateway.test_websockets import is_accepted, websocket

pytestmark = pytest.mark.django_db(transaction=True)
SITES = "https://blog.example.org https://*.example.net"
NAMED = f"frame-ancestors 'self' http://localhost:8000 {SITES}"
PORTAL = "frame-ancestors 'self' http://localhost:8000"


def ancestors(answer: Exchange) -> list[str]:
    return [p for p in answer.all("content-security-policy") if "frame-ancestors" in p]


async def test_every_answer_names_the_sites(space: Space, make_space: MakeSpace) -> None:
    await sync_to_async(set_embedding)(space, disabled=False, sites=SITES)
    for method, path in (
        ("GET", "/x"),
        ("GET", "/headers"),
        ("POST", "/x"),
        ("GET", "/.portico/ready"),
        ("GET", "/.portico/storage.js"),
    ):
        assert ancestors(await ask(method, space.host, path)) == [NAMED], path
    await sync_to_async(set_password)(space, "open sesame")
    assert ancestors(await get(space.host, "/x", headers=NAVIGATION)) == [NAMED], "the page that asks for the password"
    paused = await sync_to_async(make_space)(stage="PAUSED", embedding_sites=SITES.split())
    page = await get(paused.host, "/", headers=NAVIGATION)
    assert page.status == 503 and ancestors(page) == [NAMED]
    static = await sync_to_async(make_space)(sdk="static", embedding_sites=SITES.split())
    assert ancestors(await get(static.host, "/none")) == [NAMED]


async def test_nowhere_wins_over_what_is_named(make_space: MakeSpace) -> None:
    made_one = await sync_to_async(make_space)(sdk="static", embedding_sites=SITES.split(), disable_embedding=True)
    assert ancestors(await get(made_one.host, "/")) == [PORTAL]


async def test_a_private_space_is_shown_on_named_sites_to_whoever_has_a_link(private_space: Space) -> None:
    await sync_to_async(set_embedding)(private_space, disabled=False, sites=SITES)
    unknown = await get(f"x-{private_space.host}", "/", headers=NAVIGATION)
    stranger = await get(private_space.host, "/", headers=NAVIGATION)
    assert ancestors(stranger) == ancestors(unknown) == [PORTAL], "strangers learn nothing by it"
    _, path = await made(private_space)
    framed = {**NAVIGATION, "Sec-Fetch-Dest": "iframe", "Sec-Fetch-Storage-Access": "none"}
    entered = await get(private_space.host, path, headers=framed)
    assert (entered.status, ancestors(entered)) == (303, [NAMED])
    assert ancestors(await get(private_space.host, "/x", headers={**framed, **jar(entered)})) == [NAMED]


async def test_scripts_of_a_site_that_may_not_show_it_may_not_draw_it_without_a_frame_either(
    space: Space, owner: User
) -> None:
    own, portal = f"http://{space.host}", "http://localhost:8000"
    named = ["https://blog.example.org", "https://a.b.example.net"]
    others = [
        "https://blog.example", "http://blog.example.org", "https://blog.example.org:8443", "https://example.net",
        "https://evilexample.net", "https://blog.example.org.evil.example", "https://*.example.net",
    ]  # fmt: skip
    token = {"Authorization": f"Bearer {await make_token(owner)}"}

    async def may_call(origin: str) -> bool:
        said = await get(space.host, "/headers", headers={"Origin": origin})
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        preflight = await ask("OPTIONS", space.host, "/headers", headers={"Origin": origin, **asked})
        assert said.status == 200 and preflight.status == 204 and "Origin" in (said.get("vary") or "")
        allowed = [answer.get("access-control-allow-origin") for answer in (said, preflight)]
        socket = await is_accepted(websocket(space.host, "/socket", {"Origin": origin}))
        assert allowed == [origin if socket else None] * 2, "one rule for all ways in"
        by_token = await get(space.host, "/headers", headers={"Origin": origin, **token})
        assert by_token.get("access-control-allow-origin") == origin, "a token opens it from anywhere"
        return socket

    for sites, disabled, welcome in ((SITES, False, [own, portal, *named]), (SITES, True, [own, portal])):
        await sync_to_async(set_embedding)(space, disabled=disabled, sites=sites)
        current().routes.invalidate(space.pk)
        for origin in (own, portal, *named, *others):
            assert await may_call(origin) is (origin in welcome), (origin, disabled)
        token_preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        answer = await ask("OPTIONS", space.host, "/x", headers={"Origin": others[0], **token_preflight})
        assert answer.get("access-control-allow-origin") == others[0]


async def test_a_change_holds_at_once(space: Space) -> None:
    assert ancestors(await get(space.host, "/x")) == ["frame-ancestors *"]
    await sync_to_async(set_embedding)(space, disabled=False, sites=SITES)
    for _ in range(100):
        if ancestors(await get(space.host, "/x")) == [NAMED]:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("still everybody after two seconds")
