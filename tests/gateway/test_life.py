"""Waking, refusals, takedowns: what a visitor sees of a Space's life."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from apps.accounts.models import Namespace
from apps.accounts.services import reinstate, suspend
from apps.gateway import asgi, pages, workers
from apps.runtime.client import StartRefused
from apps.spaces.models import Space
from apps.spaces.services import delete_space, rename_space, set_visibility, withhold_space
from tests.gateway.asgi_client import ask, begin, get, websocket
from tests.gateway.conftest import MakeSpace, StandInAgent, deploy, without_connections
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)
NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
Upstream = tuple[int, dict[str, Any]]


async def test_however_many_ask_a_sleeping_space_is_started_once(space: Space, agent: StandInAgent) -> None:
    agent.held[space.pk] = asyncio.Event()
    asking = [begin("GET", space.host, "/x") for _ in range(20)]
    await until(lambda: agent.ensured)
    await asyncio.sleep(0.1)
    agent.held[space.pk].set()
    for exchange in asking:
        await exchange.end()
    assert {e.status for e in asking} == {200} and agent.ensured == [space.pk]


async def test_a_visit_gets_a_page_that_waits_and_the_start_goes_on(
    space: Space, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "PAGE_PATIENCE_SECONDS", 0.1)
    agent.held[space.pk] = asyncio.Event()
    page = await get(space.host, "/", headers=NAVIGATION)
    assert page.status == 503 and page.get("retry-after") and page.get("cache-control") == "no-store"
    assert "Waking up" in page.text and "/.portico/ready" in page.text
    asked = begin("GET", space.host, "/.portico/ready")
    await asyncio.sleep(0.1)
    assert not asked.status
    agent.held[space.pk].set()
    await asked.end()
    assert asked.status == 200 and agent.ensured == [space.pk]
    assert (await get(space.host, "/", headers=NAVIGATION)).status == 200


async def test_the_waking_pages_own_policy_allows_its_style_and_script_alone(space: Space) -> None:
    import base64
    import hashlib

    text = pages.for_stage("APP_STARTING", space.slug).as_html().decode()
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in pages.POLICY.decode()
    assert "unsafe" not in pages.POLICY.decode()


async def test_a_program_waits_and_is_then_told_when_to_come_back(
    space: Space, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "WAKE_SECONDS", 0.2)
    agent.held[space.pk] = asyncio.Event()
    answer = await ask("POST", space.host, "/gradio_api/call/x", body=b"{}")
    assert answer.status == 503 and answer.get("retry-after") and answer.json()["stage"] == "APP_STARTING"


@pytest.mark.parametrize(
    ("stage", "title", "waits"),
    [
        ("RUNTIME_ERROR", "The app failed to start", False),
        ("BUILD_ERROR", "could not be built", False),
        ("CONFIG_ERROR", "not set up correctly", False),
        ("NO_APP_FILE", "Nothing to run yet", False),
        ("PAUSED", "paused", False),
        ("BUILDING", "Being built", True),
    ],
)
async def test_why_a_space_does_not_run_is_said(
    space: Space, agent: StandInAgent, stage: str, title: str, waits: bool
) -> None:
    agent.refusals[space.pk] = StartRefused(stage, "Line one <b>.\nsecret traceback")
    page = await get(space.host, "/", headers=NAVIGATION)
    assert page.status == 503 and title in page.text and ("<script>" in page.text) is waits
    assert "<b>" not in page.text and "traceback" not in page.text
    said = (await get(space.host, "/config")).json()
    assert (said["stage"], said["waits"]) == (stage, waits)


async def test_a_paused_space_is_not_started(make_space: MakeSpace, agent: StandInAgent) -> None:
    made = await sync_to_async(make_space)(stage="PAUSED")
    assert (await get(made.host, "/x")).json()["stage"] == "PAUSED" and agent.ensured == []


async def test_while_the_agent_starts_a_visitor_waits_for_it_as_for_a_wake(
    space: Space, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "PAGE_PATIENCE_SECONDS", 0.1)
    agent.away = True
    asking = [begin("GET", space.host, "/x") for _ in range(20)]
    page = await get(space.host, "/", headers=NAVIGATION)
    assert page.status == 503 and "Waking up" in page.text and "/.portico/ready" in page.text
    await until(lambda: len(agent.ensured) >= 2)
    assert not any(e.status for e in asking)
    assert len(agent.ensured) < len(asking), "one attempt at a time, however many wait"
    agent.away = False
    for exchange in (*asking, begin("GET", space.host, "/.portico/ready")):
        await exchange.end()
        assert exchange.status == 200
    assert (await get(space.host, "/", headers=NAVIGATION)).status == 200


async def test_an_agent_that_stays_away_is_told_and_so_is_when_to_come_back(
    space: Space, agent: StandInAgent, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "AGENT_AWAY_SECONDS", 0.25)
    agent.away = True
    for target in ("/x", "/.portico/ready"):
        answer = await get(space.host, target)
        assert answer.status == 503 and answer.get("retry-after") and answer.json()["error"] == "unavailable"
    assert (await websocket(space.host, "/socket").hear())["type"] == "websocket.close"
    settings.PORTICO_MAX_WAITING = 2
    monkeypatch.setattr(workers, "AGENT_AWAY_SECONDS", 15.0)
    waiting = [begin("GET", space.host, "/x") for _ in range(2)]
    await until(lambda: asgi.current().workers._waiting.get(space.pk) == 2)
    assert (await get(space.host, "/x")).status == 429, "requests do not pile up"
    agent.away = False
    for exchange in waiting:
        await exchange.end()
        assert exchange.status == 200


@pytest.mark.parametrize("kind", ["request", "websocket"])
async def test_a_restart_of_the_agent_is_not_seen_by_who_can_wait(space: Space, agent: StandInAgent, kind: str) -> None:
    assert (await get(space.host, "/x")).status == 200
    agent.end(space.pk)  # its workers end with it
    agent.away = True
    await without_connections(space)
    before = len(agent.ensured)
    if kind == "request":
        posted = begin("POST", space.host, "/x", body=b"not sent twice")
        await until(lambda: len(agent.ensured) > before)
        agent.away = False
        await posted.end()
        assert posted.status == 200
    else:
        socket = websocket(space.host, "/socket")
        await until(lambda: len(agent.ensured) > before)
        agent.away = False
        assert (await socket.hear())["type"] == "websocket.accept"
        socket.hang_up(1000)
        await asyncio.wait_for(socket.task, 10)


async def test_a_websocket_to_a_worker_that_was_replaced_reaches_the_new_one(space: Space, agent: StandInAgent) -> None:
    assert (await get(space.host, "/x")).status == 200
    agent.end(space.pk)
    await without_connections(space)
    socket = websocket(space.host, "/socket")
    assert (await socket.hear())["type"] == "websocket.accept"
    socket.hang_up(1000)
    await asyncio.wait_for(socket.task, 10)


async def test_a_client_that_goes_away_while_it_wakes_frees_its_place(space: Space, agent: StandInAgent) -> None:
    agent.held[space.pk] = asyncio.Event()
    asking = begin("GET", space.host, "/x")
    await until(lambda: agent.ensured)
    asking.disconnect()
    await asking.end()
    assert not asking.status and not asgi.current().exchanges.spaces()


async def test_too_many_at_once_are_told_so(
    space: Space, agent: StandInAgent, upstream: Upstream, settings: Any
) -> None:
    settings.PORTICO_CONNECTIONS_PER_SPACE = 2
    streams = [begin("GET", space.host, "/events") for _ in range(2)]
    for stream in streams:
        await stream.next_chunk()
    refused = await get(space.host, "/x")
    assert refused.status == 429 and refused.get("retry-after")
    for stream in streams:
        stream.disconnect()
        await stream.end()
    assert (await get(space.host, "/x")).status == 200
    settings.PORTICO_MAX_WAITING = 0
    asgi.current().workers.forget(space.pk)
    crowded = await get(space.host, "/x")
    assert crowded.status == 429 and crowded.get("retry-after") and crowded.json()["error"] == "too_busy"
    page = await get(space.host, "/", headers=NAVIGATION)
    assert page.status == 429 and page.get("retry-after") and "<h1>Too many visitors" in page.text


async def test_a_takedown_ends_what_is_open_and_answers_a_tombstone(space: Space, upstream: Upstream) -> None:
    stream = begin("GET", space.host, "/events")
    await stream.next_chunk()
    socket = websocket(space.host, "/socket")
    assert (await socket.hear())["type"] == "websocket.accept"
    hanging = begin("GET", space.host, "/hang")
    await until(lambda: "hanging" in upstream[1])
    await sync_to_async(withhold_space)(space, "phishing")
    at = time.monotonic()
    await asyncio.gather(stream.end(), hanging.end())
    assert (await socket.hear())["type"] == "websocket.close"
    assert time.monotonic() - at < 2
    assert stream.aborted and hanging.status == 410
    page = await get(space.host, "/", headers=NAVIGATION)
    assert page.status == 410 and "taken down" in page.text and "phishing" not in page.text
    assert (await get(space.host, "/config")).json()["error"] == "withheld"
    assert (await get("localhost:8000", f"/run/{space.slug}/config")).status == 410
    assert (await websocket(space.host, "/socket").hear())["type"] == "websocket.close"


async def test_a_takedown_holds_when_its_message_is_lost(space: Space) -> None:
    stream = begin("GET", space.host, "/events")
    await stream.next_chunk()
    await sync_to_async(Namespace.objects.update)(suspended_at="2026-01-01T00:00Z")
    at = time.monotonic()
    await stream.end()
    while (await get(space.host, "/x")).status != 410:
        await asyncio.sleep(0.05)
    assert time.monotonic() - at < 2.1


async def test_a_banned_owners_space_is_a_tombstone_everywhere(space: Space) -> None:
    await sync_to_async(suspend)(space.owner)
    for path in (f"/spaces/{space.slug}", f"/api/spaces/{space.slug}", f"/run/{space.slug}/config"):
        assert (await get("localhost:8000", path)).status == 410, path
    assert (await get(space.host, "/", headers=NAVIGATION)).status == 410
    await sync_to_async(reinstate)(space.owner)
    assert (await get("localhost:8000", f"/spaces/{space.slug}")).status == 200


async def test_going_private_and_being_deleted_end_strangers_streams(space: Space, make_space: MakeSpace) -> None:
    stream = begin("GET", space.host, "/events")
    await stream.next_chunk()
    await sync_to_async(set_visibility)(space, "private")
    await stream.end()
    assert stream.aborted
    await sync_to_async(set_visibility)(space, "public")
    await until(lambda: True)
    while (stream := begin("GET", space.host, "/events")) and (await stream.started.wait()) and stream.status == 404:
        await stream.end()
        await asyncio.sleep(0.02)
    await stream.next_chunk()
    await sync_to_async(delete_space)(space)
    await stream.end()
    assert stream.aborted


async def test_a_new_name_is_reachable_at_once_and_the_old_one_gone(space: Space) -> None:
    old = space.host
    assert (await get(old, "/x")).status == 200
    await sync_to_async(rename_space)(space, "renamed")
    end = time.monotonic() + 2
    while (await get(old, "/x")).status != 404 or (await get(space.host, "/x")).status != 200:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_a_new_deployment_is_never_answered_by_the_old_worker(space: Space, agent: StandInAgent) -> None:
    assert (await get(space.host, "/x")).status == 200
    await sync_to_async(deploy)(space)
    agent.end(space.pk)
    end = time.monotonic() + 3
    while len(agent.ensured) < 2:
        assert (await get(space.host, "/x")).status == 200
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Length", "4"), ("Transfer-Encoding", "chunked")],
        [("Content-Length", "4"), ("Content-Length", "5")],
        [("Content-Length", "-1")],
        [("Transfer-Encoding", "gzip, chunked")],
        [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
        [("Host", "second.spaces.localhost")],
        [("X-Bad Name", "x")],
        [("X-Injected", "a\r\nX-Evil: 1")],
        [(f"X-{n}", "1") for n in range(300)],
        [("X-Large", "x" * 70_000)],
    ],
)
async def test_what_could_be_read_in_two_ways_is_refused(
    space: Space, agent: StandInAgent, headers: list[tuple[str, str]]
) -> None:
    answer = await ask("POST", space.host, "/x", headers=headers)
    assert answer.status == 400 and answer.json()["error"] == "bad_request" and agent.ensured == []


@pytest.mark.parametrize("target", ["http://other/", "*", "/a b", "/\x01", "/?a\x7f"])
async def test_a_malformed_target_is_refused(space: Space, target: str) -> None:
    assert (await get(space.host, target)).status == 400


@pytest.mark.parametrize("label", ["", "-", "a.b", "a_b", "x" * 64, "..", "%41", "xn--é"])
async def test_a_host_that_cannot_be_a_space_is_not_found(label: str, space: Space) -> None:
    answer = await get(f"{label}.spaces.localhost:8000", headers=NAVIGATION)
    assert answer.status in (400, 404)


async def test_a_body_over_the_limit_is_refused(space: Space, settings: Any) -> None:
    settings.PORTICO_MAX_FILE_BYTES = 1000
    assert (await ask("POST", space.host, "/upload", body=b"x" * 1001)).status == 413
    counted = begin("POST", space.host, "/upload", headers={"Transfer-Encoding": "chunked"}, body=None)
    for _ in range(3):
        counted.send_body(b"x" * 500)
    await counted.end()
    assert counted.status == 413 and counted.json()["error"] == "too_large"
