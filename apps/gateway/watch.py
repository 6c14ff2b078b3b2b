"""What the gateway does beside requests: hears of changes, ends what may not go on, reports activity.

A takedown must hold within two seconds even when its message is lost. So besides listening, every second the Spaces
that have something open, and those whose routes are in use, are read together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress

import structlog
from channels.layers import get_channel_layer

from apps.gateway import pages
from apps.gateway.access import Rights
from apps.gateway.exchanges import Exchanges
from apps.gateway.routes import Route, Routes, read_routes
from apps.gateway.takes import Taker
from apps.gateway.workers import Workers
from apps.runtime import client as runtime
from apps.spaces.events import ROUTES_GROUP

log = structlog.get_logger(__name__)

CHECK_SECONDS = 1.0
AT_ONCE = 500
REPORT_SECONDS = 10.0
PROMPT_SECONDS = 0.5
"""How soon after a Space came into use the agent hears of it."""
REJOIN_SECONDS = 3600.0
"""Channel layers forget a group's members after a day."""
RETRY_SECONDS = 1.0
STOP_ATTEMPTS, STOP_SECONDS = 4, 0.5


async def _read(space_ids: Collection[int]) -> dict[int, Route]:
    """The routes as the database has them, a few hundred in a query: SQLite takes no more."""
    ids, found = list(space_ids), dict[int, Route]()
    for start in range(0, len(ids), AT_ONCE):
        found |= {route.space_id: route for route in await read_routes(ids[start : start + AT_ONCE])}
    return found


Job = Callable[[], Awaitable[None]]


class Watch:
    """The background tasks of one event loop's gateway.

    Args:
        taker: told whose page is due.
        jobs: further ones, which run until they are cancelled.
    """

    def __init__(
        self,
        routes: Routes,
        workers: Workers,
        rights: Rights,
        exchanges: Exchanges,
        *,
        taker: Taker,
        jobs: Sequence[Job] = (),
    ) -> None:
        self._taker = taker
        self._jobs = (self._listen, self._check, self._report, *jobs)
        self._routes, self._workers, self._rights, self._exchanges = routes, workers, rights, exchanges
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the tasks, once."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(_keep_going(job)) for job in self._jobs]

    async def stop(self) -> None:
        """End the tasks. Redis' client swallows a cancellation that comes while it connects, so it may take two."""
        running, self._tasks = set(self._tasks), []
        for _ in range(STOP_ATTEMPTS):
            if not running:
                return
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=STOP_SECONDS)
        log.warning("background jobs of the gateway did not end", count=len(running))

    async def _listen(self) -> None:
        layer = get_channel_layer()
        assert layer is not None
        channel = await layer.new_channel("gateway")
        joined = -REJOIN_SECONDS
        now = asyncio.get_running_loop().time
        try:
            while True:
                if now() - joined >= REJOIN_SECONDS:
                    await layer.group_add(ROUTES_GROUP, channel)
                    joined = now()
                with suppress(TimeoutError):
                    async with asyncio.timeout(REJOIN_SECONDS):
                        message = await layer.receive(channel)
                        if message["type"] == "snapshot.due":
                            self._taker.due(message["space"])
                        else:
                            await self.changed(message["space"])
        finally:
            await layer.group_discard(ROUTES_GROUP, channel)

    async def changed(self, space_id: int) -> None:
        """A Space is not what it was: read its route anew and end what may not go on."""
        self._routes.invalidate(space_id)
        self._workers.doubt(space_id)
        self._rights.forget(space_id)
        if self._exchanges.of(space_id):
            await self.check([space_id])

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            self._workers.forget_unused()
            open_spaces = self._exchanges.spaces()
            in_use = self._routes.in_use()
            if open_spaces or in_use:
                read_at = time.monotonic()
                routes = await _read({*open_spaces, *in_use})
                for space_id in self._routes.renew(in_use, routes, read_at):
                    self._routes.invalidate(space_id)
                    self._workers.doubt(space_id)
                await self._check_all(open_spaces, routes)

    async def check(self, space_ids: list[int]) -> None:
        """End every open exchange that the database no longer allows."""
        await self._check_all(space_ids, await _read(space_ids))

    async def _check_all(self, space_ids: list[int], routes: Mapping[int, Route]) -> None:
        for space_id in space_ids:
            await self._check_space(space_id, routes.get(space_id))

    async def _check_space(self, space_id: int, route: Route | None) -> None:
        for exchange in self._exchanges.of(space_id):
            if route is None:
                exchange.end(pages.not_found(exchange.route.subdomain))
            elif not await self._rights.may_see(route, exchange.user_id, exchange.session):
                exchange.end(pages.no_entry(route.subdomain, asks_password=bool(route.lock)))
            elif route.withheld:
                exchange.end(pages.withheld())

    async def _report(self) -> None:
        """Tell the agent which Spaces are in use: a new one promptly, all of them every few seconds."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_SECONDS):
                    await self._exchanges.woken.wait()
            await asyncio.sleep(PROMPT_SECONDS)
            self._exchanges.woken.clear()
            if activity := self._exchanges.activity():
                await runtime.report_activity(activity)


async def _keep_going(job: Job) -> None:
    """Run a background job for ever: whatever it stumbles over (a database, Redis or agent that is away) passes."""
    while True:
        try:
            await job()
        except runtime.AgentUnavailable:
            log.info("the agent does not answer", job=job.__name__)
        except Exception:
            log.exception("a background job of the gateway failed, starting it again", job=job.__name__)
        await asyncio.sleep(RETRY_SECONDS)
