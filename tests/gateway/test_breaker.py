"""An app that only fails is left alone for a while."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from apps.gateway import breaker, proxy
from apps.gateway.asgi import current
from apps.spaces.models import Space
from tests.gateway.asgi_client import ask, get, websocket
from tests.gateway.conftest import MakeSpace, StandInAgent, deploy

pytestmark = pytest.mark.django_db(transaction=True)
NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
Upstream = tuple[int, dict[str, Any]]
ALWAYS = "/vanish?times=999"


async def fail(space: Space, times: int = breaker.FAILURES) -> None:
    for _ in range(times):
        assert (await ask("POST", space.host, ALWAYS)).status == 502


async def test_after_twenty_failures_it_is_not_asked(space: Space, agent: StandInAgent, upstream: Upstream) -> None:
    await fail(space, breaker.FAILURES - 1)
    await get(space.host, "/nothing?status=500")
    await fail(space)
    asked, sockets = upstream[1]["asked"], agent.sockets
    said, page = await get(space.host, "/x"), await get(space.host, "/", headers=NAVIGATION)
    assert said.status == page.status == 503 and said.json()["error"] == "failing"
    assert 1 <= int(said.get("retry-after") or 0) <= breaker.OPEN_SECONDS
    assert "<h1>The app does not answer" in page.text
    assert (await websocket(space.host, "/socket").hear())["type"] == "websocket.close"
    assert (upstream[1]["asked"], agent.sockets) == (asked, sockets)
    spaces = current().metrics.snapshot()["spaces"]
    assert spaces[space.slug]["events"]["circuit_opened"] == 1


async def test_one_request_tries_and_an_answer_closes_the_circuit(
    space: Space, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "OPEN_SECONDS", 0.3)
    await fail(space)
    await asyncio.sleep(0.35)
    asked = upstream[1]["asked"]
    answers = await asyncio.gather(*(ask("POST", space.host, ALWAYS) for _ in range(5)))
    assert sorted(a.status for a in answers) == [502, 503, 503, 503, 503]
    assert upstream[1]["asked"] == asked + 1
    await asyncio.sleep(0.35)
    assert (await get(space.host, "/x")).status == 200
    assert (await ask("POST", space.host, ALWAYS)).status == 502 and (await get(space.host, "/x")).status == 200


async def test_what_the_app_says_itself_is_no_failure(space: Space) -> None:
    for _ in range(breaker.FAILURES + 5):
        assert (await get(space.host, "/nothing?status=500")).status == 500


async def test_failures_far_apart_do_not_count_together(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "WITHIN_SECONDS", 0.0)
    await fail(space, breaker.FAILURES + 5)


async def test_an_app_that_begins_no_answer_fails(
    space: Space, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "HEAD_SECONDS", 0.05)
    statuses = {(await get(space.host, "/hang")).status for _ in range(breaker.FAILURES)}
    assert statuses == {504} and (await get(space.host, "/x")).status == 503


async def test_another_deployment_begins_anew(space: Space) -> None:
    await fail(space)
    assert (await get(space.host, "/x")).status == 503
    await sync_to_async(deploy)(space)
    await current().watch.changed(space.pk)
    assert (await get(space.host, "/x")).status == 200


async def test_one_spaces_failures_are_not_anothers(
    space: Space, make_space: MakeSpace, agent: StandInAgent, upstream: Upstream
) -> None:
    other = await sync_to_async(make_space)()
    agent.ports[other.pk] = upstream[0]
    await fail(space)
    assert (await get(other.host, "/x")).status == 200 and (await get(space.host, "/x")).status == 503
