"""What is left of an exchange: an id that leads from the edge to the app, and a line in the access log."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from asgiref.sync import sync_to_async

from apps.gateway import asgi, observe, proxy
from apps.gateway.asgi import current
from apps.gateway.observe import Outcome, Recorder, Seen, line
from apps.spaces.models import Space
from apps.spaces.services import withhold_space
from tests.gateway.asgi_client import ask, begin, get, websocket
from tests.gateway.conftest import StandInAgent
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)
NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
Upstream = tuple[int, dict[str, Any]]
MADE = re.compile(r"[0-9a-f]{32}")


def header(answer: Any, name: str) -> list[str]:
    """What the app got."""
    return [value for key, value in answer.json()["headers"] if key == name]


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage().split("\n")

    async def read(self) -> list[dict[str, Any]]:
        """What has been written since the last call."""
        await current().recorder.flush()
        found, self.text = self.text, []
        return [json.loads(text) for text in found]


@pytest.fixture
def lines(settings: Any) -> Iterator[Lines]:
    settings.PORTICO_ACCESS_LOG = True
    handler = Lines()
    observe.access_log.addHandler(handler)
    yield handler
    observe.access_log.removeHandler(handler)


async def test_a_request_has_one_id_for_the_app_and_the_visitor(space: Space) -> None:
    first, second = await get(space.host, "/x"), await get(space.host, "/x")
    for answer in (first, second):
        (told,) = answer.all("x-request-id")
        assert MADE.fullmatch(told) and header(answer, "x-request-id") == [told]
    assert first.get("x-request-id") != second.get("x-request-id")
    by_path = await get("localhost:8000", f"/run/{space.slug}/x")
    assert header(by_path, "x-request-id") == by_path.all("x-request-id")


@pytest.mark.parametrize(
    ("given", "believed"),
    [
        ("edge-0123456789.a_b", True),
        ("short", False),
        ("x" * 129, False),
        ("with space 12345", False),
        ('"},{"forged":"', False),
        ("é" * 10, False),
    ],
)
async def test_a_trusted_proxys_well_formed_id_is_kept(space: Space, settings: Any, given: str, believed: bool) -> None:
    headers = {"X-Request-ID": given}
    stranger = await get(space.host, "/x", headers=headers)
    assert MADE.fullmatch(stranger.get("x-request-id") or "") and header(stranger, "x-request-id") != [given]
    settings.PORTICO_TRUSTED_PROXIES = ["203.0.113.9"]
    answer = await get(space.host, "/x", headers=headers)
    assert (answer.all("x-request-id") == header(answer, "x-request-id") == [given]) is believed


async def test_an_apps_own_request_id_does_not_replace_ours(space: Space) -> None:
    answer = await get(space.host, "/headers")
    (told,) = answer.all("x-request-id")
    assert MADE.fullmatch(told)


async def test_a_websocket_has_an_id(space: Space, upstream: Upstream) -> None:
    socket = websocket(space.host, "/socket")
    accepted = await socket.hear()
    ((name, told),) = accepted["headers"]
    assert name == b"x-request-id" and upstream[1]["handshake"]["x-request-id"] == told.decode()
    socket.hang_up(1000)
    await asyncio.wait_for(socket.task, 10)


async def test_errors_of_the_gateway_say_the_id_and_so_does_its_log(space: Space) -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logged:
        said = await ask("POST", space.host, "/vanish?times=9")
    page = await get(space.host, "/vanish?times=9", headers=NAVIGATION)
    assert said.status == page.status == 502
    assert said.json()["reference"] == said.get("x-request-id")
    assert f"Reference: {page.get('x-request-id')}" in page.text
    (entry,) = [e for e in logged if e["event"] == "app did not answer"]
    assert entry["request_id"] == said.get("x-request-id")
    unreadable = await get(space.host, "/a b")
    assert unreadable.status == 400 and unreadable.json()["reference"] == unreadable.get("x-request-id")


async def test_each_exchange_is_a_line(space: Space, lines: Lines) -> None:
    assert (await get(space.host, "/x")).status == 200
    await lines.read()
    answer = await ask(
        "POST",
        space.host,
        "/upload?token=hf_secret",
        body=b"12345",
        headers={"Cookie": "a=secret", "Authorization": "Bearer secret", "User-Agent": "curl/8"},
    )
    (entry,) = await lines.read()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry.pop("timestamp"))
    assert 0 < entry.pop("first_byte_seconds") <= entry.pop("seconds") < 10
    assert entry == {
        "logger": "portico.access",
        "request_id": answer.get("x-request-id"),
        "space": space.slug,
        "method": "POST",
        "path": "/upload",
        "status": 200,
        "bytes_in": 5,
        "bytes_out": len(answer.body),
        "outcome": "ok",
        "user_agent": "curl/8",
        "address": "203.0.113.9",
    }
    await get("localhost:8000", f"/run/{space.slug}/x")
    (entry,) = await lines.read()
    assert entry["path"] == f"/run/{space.slug}/x" and entry["space"] == space.slug


async def test_how_an_exchange_ended_is_said(
    space: Space, private_space: Space, lines: Lines, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def outcome() -> tuple[str, int]:
        (entry,) = await lines.read()
        return entry["outcome"], entry["status"]

    await sync_to_async(Space.objects.filter(pk=space.pk).update)(stage="SLEEPING")
    agent.held[space.pk] = asyncio.Event()
    monkeypatch.setattr(asgi, "PAGE_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(asgi, "WAKE_SECONDS", 0.05)
    await get(space.host, "/", headers=NAVIGATION)
    assert await outcome() == ("waking", 503)
    await get(space.host, "/x")
    assert await outcome() == ("timeout", 503)
    monkeypatch.setattr(asgi, "WAKE_SECONDS", 10)
    first = begin("GET", space.host, "/x")
    await asyncio.sleep(0.05)
    agent.held[space.pk].set()
    await first.end()
    assert await outcome() == ("woke", 200)
    await get(space.host, "/nothing?status=500")
    assert await outcome() == ("ok", 500), "what the app says is the app's affair"
    await ask("POST", space.host, "/vanish?times=9")
    assert await outcome() == ("broken", 502)
    monkeypatch.setattr(proxy, "HEAD_SECONDS", 0.05)
    await get(space.host, "/hang")
    assert await outcome() == ("timeout", 504)
    monkeypatch.undo()
    for name in ("ensure_worker", "worker_sockets", "report_activity"):
        monkeypatch.setattr(asgi.current().workers.find.__globals__["runtime"], name, getattr(agent, name))
    assert (await get(space.host, "/break-off")).aborted
    assert await outcome() == ("broken", 200)
    hanging = begin("GET", space.host, "/hang")
    await asyncio.sleep(0.2)
    hanging.disconnect()
    await hanging.end()
    assert await outcome() == ("client_gone", 0)
    await get("no-such.spaces.localhost:8000", "/x")
    assert await outcome() == ("refused", 404)
    await get(private_space.host, "/x")
    (entry,) = await lines.read()
    assert (entry["outcome"], entry["space"]) == ("refused", "")
    await sync_to_async(withhold_space)(space, "spam")
    await until(lambda: True)
    while (await get(space.host, "/x")).status != 410:
        await asyncio.sleep(0.05)
    assert (await lines.read())[-1]["outcome"] == "refused"


async def test_a_websocket_is_a_line_when_it_ends(space: Space, lines: Lines) -> None:
    socket = websocket(space.host, "/socket")
    await socket.hear()
    socket.say("hello")
    assert (await socket.hear())["text"] == "HELLO"
    assert await lines.read() == []
    socket.hang_up(1000)
    await asyncio.wait_for(socket.task, 10)
    (entry,) = await lines.read()
    assert (entry["method"], entry["status"], entry["outcome"]) == ("WEBSOCKET", 101, "ok")
    assert (entry["bytes_in"], entry["bytes_out"]) == (5, 5)
    await websocket("no-such.spaces.localhost:8000", "/socket").hear()
    (entry,) = await lines.read()
    assert (entry["status"], entry["outcome"], entry["space"]) == (403, "refused", "")


def seen(**fields: Any) -> Seen:
    plain = Seen(0.0, "i" * 32, 1, "ada/x", "GET", b"/", 200, 0, 0, 0.1, 0.2, Outcome.OK, b"", "::1", None, False)
    return plain._replace(**fields)


def test_nothing_that_a_visitor_writes_begins_another_line_or_reaches_a_terminal() -> None:
    hostile = b'\x1b[2J\x9b1m\n\r\x00"},{"status":200,"\x85\xe2\x80\xa8' + b"x" * 10_000
    text = line(seen(path=hostile, agent=hostile, method='GET"\n'))
    assert text.isascii() and text.isprintable() and len(text) < 3_000
    entry = json.loads(text)
    assert entry["status"] == 200 and entry["method"] == 'GET"\n' and len(entry["user_agent"]) == 200


async def test_lines_that_nobody_takes_are_dropped_and_counted(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PORTICO_ACCESS_LOG = False
    monkeypatch.setattr(observe, "MAX_KEPT", 10)
    got: list[Seen] = []

    class Counting:
        def see(self, seen: Seen) -> None:
            got.append(seen)

    recorder = Recorder(asyncio.get_running_loop(), [Counting()])
    for number in range(25):
        recorder.add(seen(status=number))
    with structlog.testing.capture_logs() as logged:
        await recorder.close()
    assert [s.status for s in got] == list(range(15, 25))
    assert [e["count"] for e in logged] == [15]


async def test_the_log_is_silent_when_it_is_switched_off(space: Space, lines: Lines, settings: Any) -> None:
    settings.PORTICO_ACCESS_LOG = False
    await get(space.host, "/x")
    assert await lines.read() == []
