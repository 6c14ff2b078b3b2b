"""A page that is drawn before its worker is awake."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import brotli
import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from apps.accounts.models import User
from apps.gateway import asgi
from apps.gateway.access import frame_url
from apps.gateway.asgi import current
from apps.gateway.models import Snapshot
from apps.runtime.client import StartRefused
from apps.spaces.models import Space, Stage
from tests.gateway.asgi_client import ask, begin, get
from tests.gateway.conftest import StandInAgent
from tests.gateway.gradio_like import Site

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html"}


@pytest.fixture
async def asleep(gradio_site: Site, agent: StandInAgent) -> AsyncIterator[Site]:
    """It was taken, and sleeps; its next wake takes until `agent.held` is set."""
    await gradio_site.take()
    await sync_to_async(Space.objects.filter(pk=gradio_site.space.pk).update)(stage=Stage.SLEEPING)
    agent.held[gradio_site.space.pk] = asyncio.Event()
    gradio_site.app.asked.clear()
    yield gradio_site
    agent.held[gradio_site.space.pk].set()


async def test_a_visitor_gets_the_page_at_once_and_the_wake_begins(asleep: Site, agent: StandInAgent) -> None:
    answer = await get(asleep.space.host, "/", headers=PAGE)
    assert answer.status == 200
    assert f"<body>{asleep.space.host}</body>" in answer.text
    assert answer.get("content-type") == "text/html"
    assert int(answer.get("age") or -1) >= 0
    await asyncio.sleep(0)
    assert agent.ensured == [asleep.space.pk]
    assert asleep.app.asked == [], "nobody was asked"


async def test_the_next_request_waits_for_the_worker(asleep: Site, agent: StandInAgent) -> None:
    await get(asleep.space.host, "/", headers=PAGE)
    waiting = begin("GET", asleep.space.host, "/who")
    await asyncio.sleep(0.05)
    assert waiting.status == 0
    agent.held[asleep.space.pk].set()
    await waiting.end()
    assert waiting.status == 200 and asleep.app.asked == ["/who"]
    assert agent.ensured == [asleep.space.pk], "one wake"


@pytest.mark.parametrize("path", ["/", "/?__theme=dark", "/about", "/config", "/gradio_api/info", "/theme.css?v=0a1b"])
async def test_what_is_drawn(asleep: Site, path: str) -> None:
    answer = await asyncio.wait_for(get(asleep.space.host, path), 5)
    assert answer.status == 200 and answer.get("age") is not None


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/", {}),
        ("GET", "/?deep_link=abc", {}),
        ("GET", "/?__theme=dark&x=1", {}),
        ("GET", "/config?deep_link=a", {}),
        ("GET", "/gradio_api/queue/data?session_hash=x", {}),
        ("GET", "/about/", {}),
        ("GET", "/manifest.json", {}),  # this app has none
        ("GET", "/", {"Cookie": "session=theirs"}),
        ("GET", "/", {"Authorization": "Basic YTpi"}),
        ("GET", "/", {"Range": "bytes=0-1"}),
    ],
)
async def test_whatever_may_depend_on_the_visitor_waits_for_the_worker(
    asleep: Site, agent: StandInAgent, method: str, path: str, headers: dict[str, str]
) -> None:
    waiting = begin(method, asleep.space.host, path, headers={"Accept": "application/json", **headers})
    waiting.send_body(b"", more=False)
    await asyncio.sleep(0.1)
    assert waiting.status == 0
    agent.held[asleep.space.pk].set()
    await waiting.end()
    assert waiting.get("age") is None and len(asleep.app.asked) == 1


async def test_cookies_of_the_portals_own_do_not_count(asleep: Site) -> None:
    answer = await get(asleep.space.host, "/", headers={**PAGE, "Cookie": "portico_worker=00ff"})
    assert answer.get("age") is not None


async def test_head_and_codings(asleep: Site) -> None:
    plain = await get(asleep.space.host, "/")
    assert (await ask("HEAD", asleep.space.host, "/")).body == b""
    for accepted, undo in (("br", brotli.decompress), ("gzip", gzip.decompress)):
        answer = await get(asleep.space.host, "/", headers={"Accept-Encoding": accepted})
        assert answer.get("content-encoding") == accepted and undo(answer.body) == plain.body
        assert "Accept-Encoding" in (answer.get("vary") or "")


async def test_in_a_frame_where_storage_is_withheld_the_script_comes_in(asleep: Site) -> None:
    framed = {**PAGE, "Sec-Fetch-Dest": "iframe", "Sec-Fetch-Storage-Access": "none", "Accept-Encoding": "br"}
    answer = await get(asleep.space.host, "/", headers=framed)
    assert "/.portico/storage.js" in answer.text and answer.get("content-encoding") is None


async def test_under_run_it_has_that_address(asleep: Site) -> None:
    answer = await get("localhost:8000", f"/run/{asleep.space.slug}/config")
    assert answer.json()["root"] == f"http://localhost:8000/run/{asleep.space.slug}"
    assert answer.get("age") is not None
    info = await get("localhost:8000", f"/run/{asleep.space.slug}/gradio_api/info")
    assert info.json() == {"snippet": f"localhost:8000/run/{asleep.space.slug}"} and info.get("age") is not None
    strange = begin("GET", 'evil"<script>', f"/run/{asleep.space.slug}/config")
    await asyncio.sleep(0.05)
    assert strange.status == 0, "a host that is none is not written into an answer"


async def test_an_awake_worker_answers_itself(asleep: Site, agent: StandInAgent) -> None:
    agent.held[asleep.space.pk].set()
    await get(asleep.space.host, "/who")
    answer = await get(asleep.space.host, "/", headers=PAGE)
    assert answer.get("age") is None and asleep.app.asked == ["/who", "/"]


async def test_an_awake_worker_answers_itself_though_something_has_changed(asleep: Site, agent: StandInAgent) -> None:
    agent.held[asleep.space.pk].set()
    await get(asleep.space.host, "/who")
    await sync_to_async(Space.objects.filter(pk=asleep.space.pk).update)(stage=Stage.RUNNING)
    await current().watch.changed(asleep.space.pk)
    assert (await get(asleep.space.host, "/")).get("age") is None


async def end_known_worker(site: Site, agent: StandInAgent) -> None:
    """The gateway has just used its worker; the next one does not come."""
    agent.held[site.space.pk].set()
    await get(site.space.host, "/who")
    agent.end(site.space.pk)
    agent.held[site.space.pk].clear()
    await current().watch.changed(site.space.pk)


async def test_one_that_has_just_been_put_to_sleep_is_drawn_without_asking_for_its_worker(
    asleep: Site, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "DOUBT_SECONDS", 60)
    await end_known_worker(asleep, agent)
    answer = await asyncio.wait_for(get(asleep.space.host, "/", headers=PAGE), 5)
    assert answer.get("age") is not None
    assert agent.ensured == [asleep.space.pk] * 2, "and it is woken"


async def test_a_worker_that_has_just_gone_to_sleep_is_not_waited_for(asleep: Site, agent: StandInAgent) -> None:
    """Nor while the Space's stage does not say so yet."""
    await sync_to_async(Space.objects.filter(pk=asleep.space.pk).update)(stage=Stage.RUNNING)
    await end_known_worker(asleep, agent)
    answer = await asyncio.wait_for(get(asleep.space.host, "/"), 5)
    assert answer.get("age") is not None


@pytest.mark.parametrize("stage", [Stage.PAUSED, Stage.RUNTIME_ERROR, Stage.STOPPED, Stage.BUILD_ERROR])
async def test_a_space_that_no_visit_wakes_is_not_drawn(asleep: Site, agent: StandInAgent, stage: str) -> None:
    agent.refusals[asleep.space.pk] = StartRefused(stage, "no")
    agent.held[asleep.space.pk].set()
    await sync_to_async(Space.objects.filter(pk=asleep.space.pk).update)(stage=stage)
    answer = await get(asleep.space.host, "/", headers=PAGE)
    assert answer.status == 503 and "age" not in dict(answer.headers)


async def test_its_owner_may_switch_it_off(asleep: Site, agent: StandInAgent, owner: User) -> None:
    browser = Client()
    await sync_to_async(browser.force_login)(owner)
    url = f"/spaces/{asleep.space.slug}/settings"
    assert "see its page at once" in (await sync_to_async(browser.get)(url)).content.decode()
    await sync_to_async(browser.post)(url, {"do": "snapshot"})
    assert "see a waking page first" in (await sync_to_async(browser.get)(url)).content.decode()
    await sync_to_async(asleep.space.refresh_from_db)(fields=["is_snapshot_allowed"])
    assert asleep.space.is_snapshot_allowed is False
    await asyncio.sleep(0.2)  # through Redis a push takes a moment
    answer = await asyncio.wait_for(get(asleep.space.host, "/", headers=PAGE), 10)
    assert answer.status == 503 and answer.get("age") is None
    await sync_to_async(browser.post)(url, {"do": "snapshot", "is_snapshot_allowed": "on"})
    await asyncio.sleep(0.2)
    assert (await get(asleep.space.host, "/", headers=PAGE)).get("age") is not None


async def test_its_owner_is_told_why_there_is_none(gradio_site: Site, owner: User) -> None:
    gradio_site.app.headers["/"] = {"Set-Cookie": "visit=1"}
    await gradio_site.take()
    browser = Client()
    await sync_to_async(browser.force_login)(owner)
    page = await sync_to_async(browser.get)(f"/spaces/{gradio_site.space.slug}/settings")
    assert "its page sets a cookie" in page.content.decode()


async def test_a_private_page_is_drawn_for_those_who_may_see_it(asleep: Site, owner: User) -> None:
    await sync_to_async(Space.objects.filter(pk=asleep.space.pk).update)(visibility="private")
    space = await sync_to_async(Space.objects.select_related("owner").get)(pk=asleep.space.pk)
    assert (await get(space.host, "/", headers=PAGE)).status == 404
    address = await sync_to_async(frame_url)(space, owner)
    answer = await get(space.host, "/?" + address.partition("?")[2], headers=PAGE)
    cookie = (answer.get("set-cookie") or "").partition(";")[0]
    answer = await get(space.host, "/", headers={**PAGE, "Cookie": cookie})
    assert answer.status == 200 and answer.get("age") is not None


async def test_whom_the_app_is_told_of_gets_their_own_page(asleep: Site, agent: StandInAgent, owner: User) -> None:
    await sync_to_async(Space.objects.filter(pk=asleep.space.pk).update)(tells_username=True, visibility="private")
    space = await sync_to_async(Space.objects.select_related("owner").get)(pk=asleep.space.pk)
    address = await sync_to_async(frame_url)(space, owner)
    answer = await get(space.host, "/?" + address.partition("?")[2], headers=PAGE)
    cookie = (answer.get("set-cookie") or "").partition(";")[0]
    agent.held[space.pk].set()
    answer = await get(space.host, "/", headers={**PAGE, "Cookie": cookie})
    assert answer.status == 200 and answer.get("age") is None and asleep.app.asked == ["/"]


async def test_a_new_one_takes_the_place_of_the_old(asleep: Site) -> None:
    assert "new" not in (await get(asleep.space.host, "/")).text
    asleep.app.page = "<p>new"
    await asleep.take()
    asleep.agent.running.clear()
    async with asyncio.timeout(5):
        while (answer := await get(asleep.space.host, "/")).text != "<p>new":  # through Redis a push takes a moment
            await asyncio.sleep(0.02)
    assert answer.get("age") is not None


async def test_what_is_broken_in_the_database_breaks_nothing(asleep: Site, agent: StandInAgent, caplog: Any) -> None:
    await sync_to_async(Snapshot.objects.update)(content=b"\x00not zlib")
    agent.held[asleep.space.pk].set()
    answer = await get(asleep.space.host, "/")
    assert answer.status == 200 and answer.get("age") is None and asleep.app.asked == ["/"]
