"""Which Space is meant: kept in memory, invalidated by push, and true within two seconds even without one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import pytest
from asgiref.sync import sync_to_async
from django.db.utils import OperationalError

from apps.builds.models import Deployment
from apps.gateway import routes, watch
from apps.gateway.asgi import current
from apps.gateway.routes import Key, Route
from apps.spaces.models import Space
from apps.spaces.services import withhold_space
from tests.gateway.asgi_client import get
from tests.gateway.conftest import StandInAgent, deploy

pytestmark = pytest.mark.django_db(transaction=True)


class Queries:
    """Counts what asks the database, and asks it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of_requests, self.in_background = 0, 0
        self._read_route, self._read_routes = routes.read_route, watch.read_routes
        monkeypatch.setattr(routes, "read_route", self.read_route)
        monkeypatch.setattr(watch, "read_routes", self.read_routes)
        self.down = False

    async def read_route(self, key: Key) -> Route | None:
        self.of_requests += 1
        return await self._read_route(key)

    async def read_routes(self, space_ids: Iterable[int]) -> list[Route]:
        self.in_background += 1
        if self.down:
            raise OperationalError("the database is away")
        return await self._read_routes(space_ids)


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> Queries:
    return Queries(monkeypatch)


async def visit(space: Space, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert (await get(space.host, "/x")).status == 200
        await asyncio.sleep(0.05)


async def test_while_a_space_is_in_use_its_visitors_ask_the_database_once(space: Space, queries: Queries) -> None:
    await visit(space, 3.2)
    assert queries.of_requests == 1
    assert 2 <= queries.in_background <= 4, "once a second, however many requests there were"


async def test_a_visitor_after_a_pause_asks_nobody_either(space: Space, queries: Queries) -> None:
    await visit(space, 0.1)
    await asyncio.sleep(2.5)
    await visit(space, 0.1)
    assert queries.of_requests == 1


async def test_a_takedown_holds_at_once_when_it_is_said(space: Space, queries: Queries) -> None:
    await visit(space, 0.1)
    await sync_to_async(withhold_space)(space, "spam")
    await asyncio.sleep(0.2)
    assert (await get(space.host, "/x")).status == 410


async def test_a_deployment_that_nobody_tells_of_is_seen_within_two_seconds(
    space: Space, agent: StandInAgent, queries: Queries
) -> None:
    await visit(space, 0.1)
    deployed = await sync_to_async(deploy)(space)
    end = time.monotonic() + 2.0
    while (await current().routes.find(("subdomain", space.subdomain)) or object).deployment_id != deployed.pk:  # type: ignore[union-attr]
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_a_space_that_is_gone_is_gone_within_two_seconds(space: Space, queries: Queries) -> None:
    await visit(space, 0.1)
    await sync_to_async(Deployment.objects.filter(space=space).update)(is_current=False)
    await sync_to_async(Space.objects.filter(pk=space.pk).update)(subdomain="elsewhere")
    end = time.monotonic() + 2.1
    while (await get(space.host, "/x")).status != 404:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_when_nobody_checks_a_route_is_believed_for_two_seconds_only(space: Space, queries: Queries) -> None:
    await visit(space, 0.1)
    queries.down = True
    await visit(space, 2.5)
    assert queries.of_requests == 2


async def test_spaces_that_nobody_visits_are_not_checked(
    space: Space, queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "WATCHED_SECONDS", 0.5)
    await visit(space, 0.1)
    await asyncio.sleep(1.5)
    before = queries.in_background
    await asyncio.sleep(1.5)
    assert queries.in_background == before and not current().routes._watched
    assert (await get(space.host, "/x")).status == 200 and queries.of_requests == 2


async def test_how_many_are_checked_is_bounded(space: Space, queries: Queries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MAX_WATCHED", 0)
    await visit(space, 2.2)
    assert queries.of_requests == 2 and not current().routes._watched
