"""Who may frame a Space, said with every answer of its host."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async

from apps.spaces.models import Space
from apps.spaces.services import set_embedding, set_password
from tests.gateway.asgi_client import Exchange, ask, get
from tests.gateway.conftest import MakeSpace
from tests.gateway.test_access import NAVIGATION, jar
from tests.gateway.test_links import made

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


async def test_a_change_holds_at_once(space: Space) -> None:
    assert ancestors(await get(space.host, "/x")) == ["frame-ancestors *"]
    await sync_to_async(set_embedding)(space, disabled=False, sites=SITES)
    for _ in range(100):
        if ancestors(await get(space.host, "/x")) == [NAMED]:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("still everybody after two seconds")
