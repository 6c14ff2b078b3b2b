from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User
from apps.accounts.tokens import create_token
from apps.gateway.access import frame_url, issue_code
from apps.gateway.headers import ACCESS_COOKIE
from apps.gateway.models import AccessCode
from apps.spaces.invitations import invite, uninvite
from apps.spaces.models import Space
from apps.spaces.services import set_visibility
from tests.gateway.asgi_client import Exchange, ask, begin, get, without_id
from tests.gateway.conftest import MakeSpace

pytestmark = pytest.mark.django_db(transaction=True)
NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}


def jar(answer: Exchange) -> dict[str, str]:
    """The cookie that an answer set, to be sent with the next request."""
    return {"Cookie": (answer.get("set-cookie") or "").partition(";")[0]}


async def sign_in(space: Space, user: User) -> dict[str, str]:
    code = await sync_to_async(issue_code)(space, user)
    return jar(await get(space.host, f"/?__sign={code}"))


async def make_token(user: User) -> str:
    return (await sync_to_async(create_token)(user, "t"))[1]


def same_for(answer: Exchange, subdomain: str) -> tuple[int, Any, bytes]:
    return answer.status, without_id(answer), answer.body.replace(subdomain.encode(), b"NAME")


async def test_a_private_space_answers_strangers_as_a_name_that_never_was(private_space: Space) -> None:
    unknown = "x" * len(private_space.subdomain)
    for method in ("GET", "POST", "HEAD", "OPTIONS"):
        for headers in (NAVIGATION, {}, {"Origin": "https://blog.example"}, {"Cookie": f"{ACCESS_COOKIE}=forged"}):
            real = await ask(method, private_space.host, "/x?y=1", headers=headers)
            none = await ask(
                method, private_space.host.replace(private_space.subdomain, unknown), "/x?y=1", headers=headers
            )
            assert real.status == 404
            assert same_for(real, private_space.subdomain) == same_for(none, unknown)
    by_path = await get("localhost:8000", f"/run/{private_space.slug}/config")
    no_path = await get("localhost:8000", "/run/ada/nothing/config")
    assert (by_path.status, without_id(by_path), by_path.body) == (no_path.status, without_id(no_path), no_path.body)


async def test_the_page_for_strangers_leads_its_owner_through_the_portal(private_space: Space, owner: User) -> None:
    page = await get(private_space.host, headers=NAVIGATION)
    found = re.search(r'href="http://[^/]+(/open/[^"]+)"', page.text)
    assert found
    client = Client()
    await sync_to_async(client.force_login)(owner)
    answer = await sync_to_async(client.get)(found[1], headers={"host": "localhost"})
    assert answer.status_code == 302
    there = urlsplit(answer["Location"])
    assert there.netloc == private_space.host and "__sign" in parse_qs(there.query)


async def test_a_code_lets_its_owner_in_once(private_space: Space, owner: User) -> None:
    code = await sync_to_async(issue_code)(private_space, owner)
    first = await get(private_space.host, f"/a/b?x=1&__sign={code}&y=%202")
    assert (first.status, first.get("location")) == (303, "/a/b?x=1&y=%202")
    assert first.get("referrer-policy") == "no-referrer"
    cookie = first.get("set-cookie") or ""
    for attribute in ("Path=/", "HttpOnly", "SameSite=None", "Secure", "Partitioned"):
        assert attribute in cookie.split("; ")
    assert "domain" not in cookie.lower()
    inside = await get(private_space.host, "/x", headers=jar(first))
    assert inside.status == 200
    assert ACCESS_COOKIE not in str(inside.json()["headers"])
    second = await get(private_space.host, f"/?__sign={code}")
    assert second.status == 404 and second.get("set-cookie") is None
    assert code not in str(await sync_to_async(lambda: list(AccessCode.objects.values_list()))())


async def test_codes_end_after_a_minute_and_are_for_one_space(
    private_space: Space, owner: User, make_space: MakeSpace
) -> None:
    code = await sync_to_async(issue_code)(private_space, owner)
    later = timezone.now() - timedelta(seconds=1)
    assert await sync_to_async(AccessCode.objects.update)(expires_at=later) == 1
    assert (await get(private_space.host, f"/?__sign={code}")).status == 404
    other = await sync_to_async(make_space)(visibility="private")
    code = await sync_to_async(issue_code)(private_space, owner)
    assert (await get(other.host, f"/?__sign={code}")).status == 404
    assert (await get(private_space.host, f"/?__sign={code}")).status == 404, "whoever saw it could have used it"


async def test_a_cookie_is_for_one_space(private_space: Space, owner: User, make_space: MakeSpace) -> None:
    cookie = await sign_in(private_space, owner)
    other = await sync_to_async(make_space)(visibility="private")
    assert (await get(other.host, "/x", headers=cookie)).status == 404


async def test_a_lost_right_ends_the_visit(
    private_space: Space, stranger: User, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.gateway.access.RIGHT_SECONDS", 0)
    cookie = await sign_in(private_space, owner)
    assert (await get(private_space.host, "/x", headers=cookie)).status == 200
    owner.set_password("another")
    await owner.asave()
    assert (await get(private_space.host, "/x", headers=cookie)).status == 404, "signed out everywhere"
    cookie = await sign_in(private_space, owner)
    owner.is_active = False
    await owner.asave()
    assert (await get(private_space.host, "/x", headers=cookie)).status == 404
    assert (await get(private_space.host, "/x", headers=await sign_in(private_space, stranger))).status == 404


async def test_a_public_space_only_loses_the_code_from_its_address(space: Space, owner: User) -> None:
    code = await sync_to_async(issue_code)(space, owner)
    answer = await get(space.host, f"/?__sign={code}")
    assert (answer.status, answer.get("location")) == (303, "/")
    assert (await get(space.host, "//evil.example/?__sign=x")).get("location") == "/evil.example/"


async def test_a_token_opens_a_private_space_and_does_not_reach_the_app(
    private_space: Space, owner: User, stranger: User
) -> None:
    token = await make_token(owner)
    other = await make_token(stranger)
    for name in ("Authorization", "X-HF-Authorization"):
        answer = await get(private_space.host, "/x", headers={name: f"Bearer {token}"})
        assert answer.status == 200 and token not in answer.text
        by_path = await get("localhost:8000", f"/run/{private_space.slug}/x", headers={name: f"Bearer {token}"})
        assert by_path.status == 200 and token not in by_path.text
        assert (await get(private_space.host, "/x", headers={name: f"Bearer {other}"})).status == 404
        assert (await get(private_space.host, "/x", headers={name: "Bearer hf_unknown"})).status == 404


async def test_a_token_whose_owner_may_not_act_opens_nothing_and_still_stays_here(space: Space, owner: User) -> None:
    token = await make_token(owner)
    owner.is_active = False
    await owner.asave()
    answer = await get(space.host, "/x", headers={"Authorization": f"Bearer {token}"})
    assert answer.status == 200 and token not in answer.text


async def test_what_is_not_our_token_is_the_apps_affair(space: Space) -> None:
    for value in ("Bearer hf_unknown", "Bearer something", "Basic YTpi"):
        answer = await get(space.host, "/x", headers={"Authorization": value})
        assert dict(answer.json()["headers"])["authorization"] == value


async def test_frame_url_is_plain_for_public_spaces_and_signed_for_readers_of_private_ones(
    make_space: MakeSpace, owner: User, stranger: User
) -> None:
    from django.contrib.auth.models import AnonymousUser

    def look() -> None:
        public = make_space(deployment_base_path="/app/")
        assert frame_url(public, owner) == f"{public.url}app/" == frame_url(public, AnonymousUser())
        private = make_space(visibility="private")
        assert frame_url(private, owner).startswith(f"{private.url}?__sign=")
        assert frame_url(private, stranger) == frame_url(private, AnonymousUser()) == private.url

    await sync_to_async(look)()


async def test_the_portal_opens_a_space_for_those_who_may(private_space: Space, owner: User, stranger: User) -> None:
    def look() -> None:
        address = f"/spaces/{private_space.slug}/open"
        assert "/accounts/login/" in Client().get(address)["Location"]
        for user, status in ((owner, 302), (stranger, 404)):
            client = Client()
            client.force_login(user)
            assert client.get(address).status_code == status

    await sync_to_async(look)()


async def test_becoming_private_shuts_strangers_out(space: Space) -> None:
    assert (await get(space.host, "/x")).status == 200
    await sync_to_async(set_visibility)(space, "private")

    for _ in range(100):
        if (await get(space.host, "/x")).status == 404:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("still open after two seconds")


async def test_a_made_up_code_does_not_tell_a_private_space_from_none(private_space: Space) -> None:
    unknown = "x" * len(private_space.subdomain)
    real = await get(private_space.host, "/x?__sign=made-up", headers=NAVIGATION)
    none = await get(
        private_space.host.replace(private_space.subdomain, unknown), "/x?__sign=made-up", headers=NAVIGATION
    )
    assert real.status == 404 and same_for(real, private_space.subdomain) == same_for(none, unknown)


async def test_an_invited_person_is_let_in_until_it_is_taken_back(private_space: Space, stranger: User) -> None:
    await sync_to_async(invite)(private_space, stranger.username)
    assert "__sign=" in await sync_to_async(frame_url)(private_space, stranger)
    cookie, token = await sign_in(private_space, stranger), {"Authorization": f"Bearer {await make_token(stranger)}"}
    for headers in (cookie, token):
        assert (await get(private_space.host, "/x", headers=headers)).status == 200
    streams = [begin("GET", private_space.host, "/events", headers=headers) for headers in (cookie, token)]
    for stream in streams:
        await stream.next_chunk()
    await sync_to_async(uninvite)(private_space, stranger.username)
    for stream in streams:
        await asyncio.wait_for(stream.end(), 2)
        assert stream.aborted
    for headers in (cookie, token):
        assert (await get(private_space.host, "/x", headers=headers)).status == 404
