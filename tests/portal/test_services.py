"""The whole portal on a real PostgreSQL and Redis, as `scripts/with_services.py` starts them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psycopg
import pytest
import redis

from tests.running_portal import ROOT, RunningPortal

pytestmark = pytest.mark.services

DEMO = ROOT / "tests" / "demos" / "python_server"


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPortal]:
    services = {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL")}
    folder = tmp_path_factory.mktemp("services")
    with RunningPortal(folder, PORTICO_ADMIN="ada:correct-horse-battery", **services) as running:
        yield running


async def stages_around(portal: RunningPortal, verb: str) -> list[str]:
    """What an open page hears before and after a command from another process."""
    address = f"ws://127.0.0.1:{portal.port}/ws/spaces/ada/server/"
    async with aiohttp.ClientSession() as session, session.ws_connect(address, origin=portal.url) as socket:
        before = await socket.receive_json(timeout=10)
        await asyncio.to_thread(portal.command, verb, "ada/server")
        return [before["stage"], (await socket.receive_json(timeout=10))["stage"]]


def test_a_demo_is_built_runs_and_tells_its_page(portal: RunningPortal) -> None:
    host = portal.deploy(DEMO, "ada/server")
    assert host == f"http://{portal.host('ada-server')}/"
    assert portal.get("/", host=portal.host("ada-server"))[0] == 200
    assert asyncio.run(stages_around(portal, "pause")) == ["RUNNING", "PAUSED"]
    assert portal.get("/", host=portal.host("ada-server"))[0] == 503


def test_it_is_postgresql_and_redis_that_hold_it(portal: RunningPortal) -> None:
    assert not list(Path(portal.data).glob("*.sqlite3"))
    with psycopg.connect(os.environ["DATABASE_URL"]) as database:
        names = database.execute("SELECT name FROM spaces_space").fetchall()
    assert names == [("server",)]
    keys = redis.Redis.from_url(os.environ["REDIS_URL"]).keys()
    assert any(b"kombu" in key for key in keys)
    assert not list((Path(portal.data) / "queue").rglob("*.msg"))
    status, body = portal.get("/readyz")
    assert (status, json.loads(body)["ready"]) == (200, True)
