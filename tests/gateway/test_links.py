"""Links that an owner makes for people without an account."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from apps.accounts.models import User
from apps.gateway import access
from apps.spaces.links import address_of, make_link, revoke_link
from apps.spaces.models import ShareLink, Space
from apps.spaces.services import set_password
from tests.gateway.asgi_client import begin, get, websocket, without_id
from tests.gateway.conftest import MakeSpace
from tests.gateway.test_access import NAVIGATION, jar, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


async def made(space: Space, lifetime: str = "day") -> tuple[ShareLink, str]:
    """A link, and the path and query of its address."""
    link = await sync_to_async(make_link)(space, lifetime, user=None)
    address = address_of(link)
    assert address.startswith(space.url)
    return link, address.removeprefix(space.url.rstrip("/"))


def age(set_cookie: str | None) -> int:
    return int(next(a for a in (set_cookie or "").split("; ") if a.startswith("Max-Age=")).removeprefix("Max-Age="))


@pytest.mark.parametrize("kind", ["private", "password"])
async def test_a_link_lets_anybody_in_as_often_as_they_like(space: Space, private_space: Space, kind: str) -> None:
    shared = private_space if kind == "private" else space
    if kind == "password":
        await sync_to_async(set_password)(space, "open sesame")
    _, path = await made(shared)
    for _ in range(2):
        first = await get(shared.host, path, headers=NAVIGATION)
        assert (first.status, first.get("location")) == (303, "/")
        assert (first.get("referrer-policy"), first.get("cache-control")) == ("no-referrer", "no-store")
        cookie = (first.get("set-cookie") or "").split("; ")
        assert {"HttpOnly", "SameSite=None", "Secure", "Partitioned", "Path=/"} < set(cookie)
        assert (await get(shared.host, "/x", headers=jar(first))).status == 200
    own = {**jar(first), "Origin": f"http://{shared.host}"}
    assert (await websocket(shared.host, "/socket", headers=own).hear())["type"] == "websocket.accept"
    other = {**jar(first), "Origin": "https://blog.example"}
    assert (await get(shared.host, "/x", headers=other)).get("access-control-allow-origin") is None


async def test_the_cookie_lives_no_longer_than_the_link(private_space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "RIGHT_SECONDS", 0)
    link, path = await made(private_space, "hour")
    first = await get(private_space.host, path)
    assert 3590 <= age(first.get("set-cookie")) <= 3600
    assert age((await get(private_space.host, (await made(private_space, "week"))[1])).get("set-cookie")) == 12 * 3600
    link.expires_at = timezone.now() - timedelta(seconds=1)
    await link.asave()
    assert (await get(private_space.host, "/x", headers=jar(first))).status == 404, "whatever the browser keeps"
    assert (await get(private_space.host, path)).status == 404


async def test_a_link_is_for_one_space_and_cannot_be_made_up(private_space: Space, make_space: MakeSpace) -> None:
    other = await sync_to_async(make_space)(visibility="private")
    link, path = await made(private_space)
    unknown = await get(f"nobody-{private_space.host}", path)
    refused = [
        await get(other.host, path),
        await get(private_space.host, path[:-1]),
        await get(private_space.host, f"/?__sign={link.pk.hex}"),
        await get(private_space.host, f"/?__sign={link.pk.hex}:x"),
        await get("localhost:8000", f"/run/{private_space.slug}{path}"),
    ]
    assert {a.status for a in refused} == {404} and not any(a.get("set-cookie") for a in refused)
    assert without_id(refused[0]) == without_id(unknown)
    cookie = jar(await get(private_space.host, path))
    assert (await get(other.host, "/x", headers=cookie)).status == 404


async def test_a_link_that_has_ended_leads_to_the_password(space: Space) -> None:
    await sync_to_async(set_password)(space, "open sesame")
    link, path = await made(space)
    await sync_to_async(revoke_link)(space, str(link.pk))
    page = await get(space.host, f"/a{path[1:]}&b=1", headers=NAVIGATION)
    assert page.status == 401 and 'name=to value="/a?b=1"' in page.text


async def test_revoking_ends_open_visits_within_two_seconds_and_no_others(private_space: Space, owner: User) -> None:
    link, path = await made(private_space)
    cookie = jar(await get(private_space.host, path))
    stays = jar(await get(private_space.host, (await made(private_space))[1]))
    streams = [
        begin("GET", private_space.host, "/events", headers=headers)
        for headers in (cookie, stays, await sign_in(private_space, owner))
    ]
    for stream in streams:
        await stream.next_chunk()
    await sync_to_async(revoke_link)(private_space, str(link.pk))
    await asyncio.wait_for(streams[0].end(), 2)
    assert streams[0].aborted and not streams[1].ended.is_set() and not streams[2].ended.is_set()
    assert (await get(private_space.host, "/x", headers=cookie)).status == 404
    assert (await get(private_space.host, "/x", headers=stays)).status == 200


async def test_an_expired_links_visit_ends_by_itself(private_space: Space) -> None:
    link, path = await made(private_space)
    stream = begin("GET", private_space.host, "/events", headers=jar(await get(private_space.host, path)))
    await stream.next_chunk()
    link.expires_at = timezone.now()
    await link.asave()  # nobody is told
    await asyncio.wait_for(stream.end(), 3)
    assert stream.aborted
