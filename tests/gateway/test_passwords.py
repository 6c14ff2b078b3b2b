"""A public Space behind a password: nothing of it for whoever does not know it, in whatever way they ask."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import cache

from apps.accounts.models import User
from apps.gateway import passwords
from apps.gateway.access import frame_url
from apps.gateway.headers import ACCESS_COOKIE
from apps.gateway.routes import read_route
from apps.spaces.models import Space
from apps.spaces.services import set_password, set_visibility
from tests.gateway.asgi_client import Exchange, ask, begin, get, websocket
from tests.gateway.conftest import MakeSpace, StandInAgent
from tests.gateway.test_access import NAVIGATION, jar, make_token, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
WORD = "open sesame & <co>"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
FRAMED = {**NAVIGATION, "Sec-Fetch-Dest": "iframe", "Sec-Fetch-Storage-Access": "none", "Sec-Fetch-Site": "cross-site"}


@pytest.fixture(autouse=True)
def no_attempts() -> None:
    cache.clear()


@pytest.fixture
async def locked(space: Space) -> Space:
    await sync_to_async(set_password)(space, WORD)
    return space


async def enter(space: Space, password: str = WORD, to: str = "/", **options: Any) -> Exchange:
    options.setdefault("headers", {**FORM, **NAVIGATION})
    body = urlencode({"password": password, "to": to}).encode()
    return await ask("POST", space.host, "/.portico/password", body=body, **options)


async def test_a_visitor_is_asked_and_the_password_lets_them_in(locked: Space) -> None:
    page = await get(locked.host, '/a/b?x="1"', headers=NAVIGATION)
    assert page.status == 401 and page.get("www-authenticate") == 'Bearer realm="portico"'
    assert 'value="/a/b?x=&quot;1&quot;"' in page.text and 'action="/.portico/password"' in page.text
    policy = page.all("content-security-policy")[0]
    assert "form-action 'self'" in policy and "script-src" not in policy and "default-src 'none'" in policy
    assert "<script" not in page.text and page.get("cache-control") == "no-store"
    entered = await enter(locked, to="/a/b?x=1")
    assert (entered.status, entered.get("location")) == (303, "/a/b?x=1")
    cookie = (entered.get("set-cookie") or "").split("; ")
    assert {"Path=/", "HttpOnly", "SameSite=None", "Secure", "Partitioned"} < set(cookie)
    inside = await get(locked.host, "/x", headers=jar(entered))
    assert inside.status == 200 and ACCESS_COOKIE not in inside.text
    again = await get(locked.host, "/.portico/password", headers={**jar(entered), **NAVIGATION})
    assert (again.status, again.get("location")) == (303, "/")


async def test_it_works_in_the_frame_of_another_site(locked: Space) -> None:
    page = await get(locked.host, "/", headers=FRAMED)
    assert page.status == 401 and "frame-ancestors *" in page.all("content-security-policy")
    entered = await enter(locked, headers={**FORM, **FRAMED})
    assert entered.status == 303 and "Partitioned" in (entered.get("set-cookie") or "")


async def test_a_wrong_password_is_told_to_people_and_to_programs(locked: Space) -> None:
    page = await enter(locked, "wrong")
    assert page.status == 401 and "That is not the password." in page.text and page.get("set-cookie") is None
    said = await enter(locked, "wrong", headers=FORM)
    assert (said.status, said.json()["error"]) == (401, "password_required")


async def test_nothing_is_behind_the_password_without_it(locked: Space, agent: StandInAgent, stranger: User) -> None:
    for method in ("GET", "POST", "HEAD", "PUT", "OPTIONS"):
        for path in (
            "/",
            "/gradio_api/info",
            "/config",
            "/.portico/ready",
            "/.portico/storage.js",
            "/.portico/password/x",
        ):
            assert (await ask(method, locked.host, path)).status == 401, (method, path)
    said = await ask("POST", "localhost:8000", f"/run/{locked.slug}/gradio_api/call/x", body=b"{}")
    assert (said.status, said.json()["error"]) == (401, "password_required")
    assert (await websocket(locked.host, "/socket").hear())["type"] == "websocket.close"
    for headers in ({"Cookie": f"{ACCESS_COOKIE}=forged"}, {"Authorization": f"Bearer {await make_token(stranger)}"}):
        assert (await get(locked.host, "/x", headers=headers)).status == 401
    preflight = {"Origin": "https://blog.example", "Access-Control-Request-Method": "POST"}
    assert (await ask("OPTIONS", locked.host, "/x", headers=preflight)).get("access-control-allow-origin") is None
    assert agent.ensured == [], "nobody wakes it either"


async def test_a_static_space_is_behind_it_and_is_not_cached_for_others(make_space: MakeSpace) -> None:
    made = await sync_to_async(make_space)(sdk="static")
    route = await read_route(("subdomain", made.subdomain))
    assert route is not None
    route.folder.mkdir(parents=True)
    (route.folder / "index.html").write_text("the secret")
    await sync_to_async(set_password)(made, WORD)
    assert "secret" not in (await get(made.host, headers=NAVIGATION)).text
    inside = await get(made.host, headers=jar(await enter(made)))
    assert inside.text == "the secret" and (inside.get("cache-control") or "").startswith("private")


async def test_another_sites_page_does_not_speak_with_a_visitors_cookie(locked: Space) -> None:
    cookie = jar(await enter(locked))
    other = {**cookie, "Origin": "https://blog.example"}
    assert (await get(locked.host, "/x", headers=other)).get("access-control-allow-origin") is None
    assert (await websocket(locked.host, "/socket", headers=other).hear())["type"] == "websocket.close"
    own = {**cookie, "Origin": f"http://{locked.host}"}
    assert (await websocket(locked.host, "/socket", headers=own).hear())["type"] == "websocket.accept"


async def test_its_owner_needs_none(locked: Space, owner: User, stranger: User) -> None:
    assert "__sign=" in await sync_to_async(frame_url)(locked, owner)
    assert "__sign=" not in await sync_to_async(frame_url)(locked, stranger)
    assert (await get(locked.host, "/x", headers=await sign_in(locked, owner))).status == 200
    assert (await get(locked.host, "/x", headers=await sign_in(locked, stranger))).status == 401
    token = {"Authorization": f"Bearer {await make_token(owner)}"}
    for host, path in ((locked.host, "/x"), ("localhost:8000", f"/run/{locked.slug}/x")):
        answer = await get(host, path, headers=token)
        assert answer.status == 200 and "Bearer" not in answer.text


async def test_changing_the_password_ends_earlier_cookies_and_what_is_open(locked: Space) -> None:
    cookie = jar(await enter(locked))
    stream = begin("GET", locked.host, "/events", headers=cookie)
    await stream.next_chunk()
    await sync_to_async(set_password)(locked, WORD)
    await asyncio.wait_for(stream.end(), 2)
    assert stream.aborted
    assert (await get(locked.host, "/x", headers=cookie)).status == 401, "even where it is the same word again"


async def test_setting_one_ends_what_strangers_have_open_and_removing_it_opens_again(space: Space) -> None:
    stream = begin("GET", space.host, "/events")
    await stream.next_chunk()
    await sync_to_async(set_password)(space, WORD)
    await asyncio.wait_for(stream.end(), 2)
    assert stream.aborted
    await sync_to_async(set_password)(space, "")
    for _ in range(100):
        if (await get(space.host, "/x")).status == 200:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("still closed after two seconds")


async def test_a_private_space_asks_nobody_and_its_password_opens_nothing(locked: Space) -> None:
    cookie = jar(await enter(locked))
    await sync_to_async(set_visibility)(locked, "private")
    for _ in range(100):
        answer = await get(locked.host, "/x", headers=cookie)
        if answer.status == 404:
            break
        await asyncio.sleep(0.02)
    assert answer.status == 404
    assert (await enter(locked)).status == 404


@pytest.mark.parametrize(
    "to", ["//evil.example/", "/\\evil.example", "\\\\evil.example", "https://evil.example", "/a\r\nX: y", "é"]
)
async def test_the_form_leads_nowhere_else(locked: Space, to: str) -> None:
    location = (await enter(locked, to=to)).get("location") or ""
    assert location.startswith("/") and location[1:2] not in ("/", "\\") and "\r" not in location


async def test_the_page_that_was_wanted_is_no_way_out(locked: Space, owner: User) -> None:
    page = await get(locked.host, "/\\evil.example/?__sign=x&a=1", headers=NAVIGATION)
    assert 'value="/evil.example/?a=1"' in page.text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FORM["Content-Type"]),
        (b"password=", FORM["Content-Type"]),
        (b"password=" + b"x" * 100_000, FORM["Content-Type"]),
        (b"&".join(b"a=1" for _ in range(100)), FORM["Content-Type"]),
        (b"\xff\xfe", FORM["Content-Type"]),
        (b'{"password": "open sesame & <co>"}', "application/json"),
    ],
)
async def test_what_is_no_such_form_is_refused(locked: Space, body: bytes, kind: str) -> None:
    answer = await ask("POST", locked.host, "/.portico/password", body=body, headers={"Content-Type": kind})
    assert answer.status == 401 and answer.json()["error"] == "password_required"


async def test_a_form_that_does_not_come_is_not_waited_for(locked: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "FORM_SECONDS", 0.1)
    asked = begin("POST", locked.host, "/.portico/password", headers={**FORM, "Content-Length": "20"}, body=None)
    await asked.end()
    assert asked.status == 401 and "too long" in asked.text


async def test_attempts_are_limited_by_address_however_many_come_at_once(
    locked: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    real = passwords.check_password
    monkeypatch.setattr(passwords, "check_password", lambda p, e: looked_at.append(p) or real(p, e))
    guesses = [enter(locked, f"guess {n}", headers=FORM, client=f"2001:db8:0:1::{n}") for n in range(30)]
    answers = await asyncio.gather(*guesses)
    assert len(looked_at) == passwords.PER_ADDRESS
    refused = [a for a in answers if a.status == 429]
    assert len(refused) == 20 and refused[0].json()["error"] == "too_many_attempts"
    assert {a.get("retry-after") for a in refused} == {"300"}
    assert (await enter(locked, client="2001:db8:0:1::99")).status == 429, "the right one too: it would tell"
    assert (await enter(locked, client="2001:db8:0:2::1")).status == 303, "a neighbour is not shut out"


async def test_attempts_are_limited_by_space(locked: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "PER_SPACE", 3)
    for n in range(5):
        assert (await enter(locked, client=f"198.51.100.{n}")).status == 303, "the right one is not counted"
    for n in range(3):
        assert (await enter(locked, "wrong", client=f"198.51.100.{n}")).status == 401
    assert (await enter(locked, client="198.51.100.9")).status == 429


async def test_few_wait_for_a_check(locked: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "MAX_WAITING", 0)
    answer = await enter(locked)
    assert (answer.status, answer.get("retry-after")) == (429, "5")
