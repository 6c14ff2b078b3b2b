"""How much one visitor, and one Space, may ask for: at once, for long, and of several processes together."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from apps.gateway import limits
from apps.gateway.asgi import current
from apps.gateway.exchanges import Exchanges
from apps.gateway.limits import Buckets, Limits, limited
from apps.spaces.models import Space
from tests.gateway.asgi_client import begin, get, websocket

pytestmark = pytest.mark.django_db(transaction=True)
NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}


@pytest.fixture(autouse=True)
def alone(settings: Any) -> None:
    """No Redis, where other tests' counts may be."""
    settings.REDIS_URL = ""


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("", ""),
        ("unix", ""),
    ],
)
def test_what_counts_as_one_visitor(address: str, expected: str) -> None:
    assert limited(address) == expected


async def test_a_visitor_over_the_rate_is_told_when_to_come_back(space: Space, settings: Any) -> None:
    settings.PORTICO_RATE_PER_ADDRESS, settings.PORTICO_BURST_PER_ADDRESS = 0.5, 3
    assert [(await get(space.host, "/x")).status for _ in range(4)] == [200, 200, 200, 429]
    program, page = await get(space.host, "/x"), await get(space.host, "/", headers=NAVIGATION)
    assert program.json()["error"] == "too_many_requests" and program.get("retry-after") == "2"
    assert page.status == 429 and page.get("retry-after") == "2" and "<h1>Too many requests" in page.text
    assert (await get("no-such.spaces.localhost:8000", "/x")).status == 429, "guessing names is limited, too"
    assert (await websocket(space.host, "/socket").hear())["type"] == "websocket.close"
    assert (await get(space.host, "/x", client="203.0.113.10")).status == 200
    for _ in range(5):
        assert (await get(space.host, "/x", client="127.0.0.1")).status == 200, "this machine itself is not limited"


async def test_tokens_come_back_with_time(settings: Any) -> None:
    settings.PORTICO_RATE_PER_ADDRESS, settings.PORTICO_BURST_PER_ADDRESS = 50.0, 2
    buckets = Buckets("ADDRESS")
    assert [buckets.take("a") > 0 for _ in range(3)] == [False, False, True]
    time.sleep(0.025)
    assert buckets.take("a") == 0 and buckets.take("a") > 0
    time.sleep(0.2)
    assert [buckets.take("a") > 0 for _ in range(3)] == [False, False, True], "never more than the burst"
    settings.PORTICO_RATE_PER_ADDRESS = 0.0
    assert buckets.take("a") == 0


async def test_behind_a_trusted_proxy_its_visitors_are_told_apart(space: Space, settings: Any) -> None:
    settings.PORTICO_TRUSTED_PROXIES = ["203.0.113.9"]
    settings.PORTICO_RATE_PER_ADDRESS, settings.PORTICO_BURST_PER_ADDRESS = 0.01, 1
    asked = ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:2::1", "198.51.100.1"]
    got = [(await get(space.host, "/x", headers={"X-Forwarded-For": address})).status for address in asked]
    assert got == [200, 429, 200, 200]
    forged = await get(space.host, "/x", client="203.0.113.77", headers={"X-Forwarded-For": "198.51.100.2"})
    again = await get(space.host, "/x", client="203.0.113.77", headers={"X-Forwarded-For": "198.51.100.3"})
    assert (forged.status, again.status) == (200, 429), "what a stranger says of himself is not believed"


async def test_a_spaces_rate_is_its_own(space: Space, settings: Any) -> None:
    settings.PORTICO_RATE_PER_SPACE, settings.PORTICO_BURST_PER_SPACE = 0.5, 2
    got = [(await get(space.host, "/x", client=f"203.0.113.{n}")).status for n in range(3)]
    assert got == [200, 200, 429]


async def test_connections_of_one_visitor_are_limited_and_free_again(space: Space, settings: Any) -> None:
    settings.PORTICO_CONNECTIONS_PER_ADDRESS = 2
    stream, socket = begin("GET", space.host, "/events"), websocket(space.host, "/socket")
    await stream.next_chunk()
    assert (await socket.hear())["type"] == "websocket.accept"
    refused = await get(space.host, "/x")
    assert refused.status == 429 and refused.get("retry-after") == "1"
    assert (await websocket(space.host, "/socket").hear())["type"] == "websocket.close"
    assert (await get(space.host, "/x", client="203.0.113.10")).status == 200
    stream.disconnect()
    await stream.end()
    assert (await get(space.host, "/x")).status == 200
    socket.hang_up(1000)
    await asyncio.wait_for(socket.task, 10)
    assert not current().limits._open


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_KEYS", 100)
    buckets = Buckets("ADDRESS")
    for number in range(1_000):
        buckets.take(str(number))
    assert len(buckets._known) == 100 and len(buckets._spenders) == 100
    assert set(buckets.spent()) == {str(n) for n in range(900, 1_000)}


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    client = Redis.from_url(os.environ["REDIS_URL"])
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.mark.services
async def test_processes_share_their_counts_through_redis(redis: Redis, settings: Any) -> None:
    settings.PORTICO_RATE_PER_ADDRESS, settings.PORTICO_BURST_PER_ADDRESS = 0.01, 10
    settings.PORTICO_CONNECTIONS_PER_ADDRESS = 5
    loop = asyncio.get_running_loop()
    one, other = Limits(Exchanges(loop)), Limits(Exchanges(loop))
    address = "203.0.113.9"
    assert [one.enter(address) for _ in range(4)] == [0.0] * 4
    assert [other.enter(address) for _ in range(4)] == [0.0] * 4
    await one.settle(redis)
    await other.settle(redis)
    await one.settle(redis)
    assert one.enter(address) == other.enter(address) == 1.0, "eight of five connections are open"
    for each in (one, other):
        for _ in range(4):
            each.leave(address)
    await one.settle(redis)
    await other.settle(redis)
    await one.settle(redis)
    assert other.enter(address) > 1.0, "two of ten tokens were left, and each refusal had taken one"
    assert one.enter(address) == 0.0, "it heard of one token before the other took it"
    await one.settle(redis)
    assert one.enter(address) > 1.0
    assert other.enter("203.0.113.10") == 0.0


@pytest.mark.services
async def test_without_redis_each_process_counts_on(space: Space, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    settings.PORTICO_RATE_PER_ADDRESS, settings.PORTICO_BURST_PER_ADDRESS = 0.01, 2
    job = asyncio.create_task(current().limits.keep_settled())
    await asyncio.sleep(0.3)
    assert [(await get(space.host, "/x")).status for _ in range(3)] == [200, 200, 429]
    assert not job.done()
    job.cancel()
