"""Connections into workers.

A worker listens inside its own network namespace. The agent makes TCP sockets there and passes them over; connected
here, they end at the worker's own loopback, which nobody else on the machine can reach.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from uuid import UUID

import aiohttp
from django.conf import settings
from yarl import URL

from apps.gateway.routes import Route
from apps.gateway.upstream import Connection, connect
from apps.runtime import client as runtime
from apps.spaces.models import Stage

WAKE_SECONDS = 60.0
SPARE_SOCKETS = 4
IDLE_SECONDS = 4.0
"""Shorter than uvicorn's own 5 s, so that a request hardly ever meets a connection that is being closed."""
CONNECT_SECONDS = 10.0
REASK_SECONDS = 0.5
AGENT_AWAY_SECONDS = 15.0
"""How long an agent that does not answer is asked again: it is starting, or being started again."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 1.0
"""Between two attempts to reach it; doubled from the first on, as there may be many Spaces that wait for it."""
FORGET_SECONDS = 30.0


class TooManyWaiting(Exception):
    """As many requests wait for this Space as may."""


class NoSocket(OSError):
    """The agent could not make a socket in the worker: it is gone."""


class BrokenOff(OSError):
    """aiohttp asks for a second socket by itself when the worker has broken off what it had got by the first."""


_handed: ContextVar[list[socket.socket]] = ContextVar("handed")


def _hand(address: object) -> socket.socket:
    """The socket of this handshake, once."""
    if not (handed := _handed.get()):
        raise BrokenOff("the app broke off")
    return handed.pop()


class Pool:
    """The connections to one worker.

    Attributes:
        peers: the pools of all the Space's workers, this one's among them; empty when it is the only one.
        users: how many requests and websockets use it now.
    """

    def __init__(self, worker: runtime.RunningWorker) -> None:
        self.worker = worker
        self.peers: tuple[Pool, ...] = ()
        self.base = f"http://127.0.0.1:{worker.port}"
        self.users = 0
        self.used_at = time.monotonic()
        self.doubted = False
        self._open: list[Connection] = []
        self._spare: list[socket.socket] = []
        self._wanted = 0
        self._asking = asyncio.Lock()
        self._unused: asyncio.Event | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def connections(self) -> int:
        """How many are open, in use or not."""
        return self.users + len(self._open)

    def begin(self) -> None:
        """Keep the pool open until `end`."""
        self.users += 1

    def end(self) -> None:
        self.users -= 1
        self.used_at = time.monotonic()
        if not self.users and self._unused is not None:
            self._unused.set()

    async def connection(self, *, sure: bool) -> Connection:
        """An open connection on which nothing happens; give it back by `put_back`.

        Args:
            sure: look whether the app has just closed it, as for what must not be sent twice, or to another worker.

        Raises:
            NoSocket: the worker is gone.
            UpstreamError: nothing listens there.
        """
        since = time.monotonic() - IDLE_SECONDS
        while self._open:
            found = self._open.pop()
            if found.open and found.idle_since > since and not (sure and found.has_ended):
                return found
            found.close()
        return await connect(await self._socket(), self.worker.port, CONNECT_SECONDS)

    def put_back(self, connection: Connection) -> None:
        """Keep it for the next request, if its exchange came to its end; close it otherwise."""
        if not connection.reusable:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._open.append(connection)
        oldest = self._open[0]
        if oldest.idle_since < connection.idle_since - IDLE_SECONDS:
            del self._open[0]
            oldest.close()

    async def websocket(self, url: URL, **options: Any) -> aiohttp.ClientWebSocketResponse:
        """Open a websocket.

        Raises:
            NoSocket: the worker is gone.
            aiohttp.ClientError: the app refused it, or does not listen.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True, socket_factory=_hand),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                trust_env=False,
            )
        made = await self._socket()
        token = _handed.set([made])
        try:
            return await self._session.ws_connect(url, **options)
        except aiohttp.ClientConnectorError as error:
            made.close()
            if isinstance(error.os_error, BrokenOff):
                raise aiohttp.ServerDisconnectedError from error
            raise
        except BaseException:
            made.close()
            raise
        finally:
            _handed.reset(token)

    async def _socket(self) -> socket.socket:
        """A socket in the worker's network. The agent is asked for several at once: a burst needs them soon."""
        if self._spare:
            return self._spare.pop()
        self._wanted += 1
        try:
            async with self._asking:
                if not self._spare:
                    self._spare += await self._ask_for_sockets(self._wanted + SPARE_SOCKETS)
                return self._spare.pop()
        finally:
            self._wanted -= 1

    async def _ask_for_sockets(self, count: int) -> list[socket.socket]:
        try:
            fresh = await runtime.worker_sockets(self.worker.id, count)
        except runtime.AgentUnavailable:
            raise
        except OSError as error:
            raise NoSocket(str(error)) from error
        if not fresh:
            raise NoSocket("the agent made no socket")
        return fresh

    @property
    def is_idle(self) -> bool:
        return not self.users

    async def close_when_idle(self) -> None:
        if self.users:
            self._unused = asyncio.Event()
            await self._unused.wait()
        await self.close()

    def drop(self) -> None:
        """Close what is open and not in use."""
        for connection in self._open:
            connection.close()
        for spare in self._spare:
            spare.close()
        self._open.clear()
        self._spare.clear()

    async def close(self) -> None:
        self.drop()
        if self._session is not None:
            await self._session.close()


class Workers:
    """The pools of one event loop, by Space; the one place that asks the agent for a worker.

    Of a Space that has several workers, the first one's pool is kept here and knows the others.

    Args:
        woken: told when a Space that did not run has been started for a request.
    """

    def __init__(self, woken: Callable[[Route], None]) -> None:
        self._woken = woken
        self._pools: dict[int, Pool] = {}
        self._starting: dict[int, asyncio.Task[Pool]] = {}
        self._waiting: dict[int, int] = {}
        self._asked_at: dict[int, float] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many requests wait for a worker now."""
        return sum(self._waiting.values())

    @property
    def connections(self) -> int:
        """How many connections to workers are open, in use or not."""
        return sum(pool.connections for first in self._pools.values() for pool in _all(first))

    def ready(self, route: Route) -> Pool | None:
        """The pool of the Space's (first) worker, when one is known that runs the current deployment.

        A worker of an older deployment serves on while the newer one starts, but the agent is asked again.
        """
        pool = self._pools.get(route.space_id)
        if pool is None or pool.doubted:
            return None
        if pool.worker.deployment_id == route.deployment_id:
            return pool
        asked, now = self._asked_at.get(route.space_id, 0.0), asyncio.get_running_loop().time()
        return pool if now - asked < REASK_SECONDS else None

    async def find(self, route: Route, timeout: float = WAKE_SECONDS) -> Pool:
        """Return the pool of the Space's (first) worker, starting the worker when there is none.

        Args:
            route: the Space.
            timeout: seconds to wait. The start goes on when nobody waits any more.

        Raises:
            TimeoutError: not ready in time.
            TooManyWaiting: too many requests wait already.
            apps.runtime.client.StartRefused: it cannot be started now; `stage` and `message` say why.
            apps.runtime.client.AgentUnavailable: the agent does not answer, for `AGENT_AWAY_SECONDS` now.
        """
        if pool := self.ready(route):
            return pool
        space_id = route.space_id
        if self._waiting.get(space_id, 0) >= settings.PORTICO_MAX_WAITING:
            raise TooManyWaiting
        task = self._starting.get(space_id)
        if task is None:
            task = self._begin(route)
        self._waiting[space_id] = self._waiting.get(space_id, 0) + 1
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(task)
        finally:
            self._waiting[space_id] -= 1
            if not self._waiting[space_id]:
                del self._waiting[space_id]

    def is_known(self, route: Route) -> bool:
        """Whether it had a worker of the current deployment of late."""
        pool = self._pools.get(route.space_id)
        return pool is not None and pool.worker.deployment_id == route.deployment_id

    def wake(self, route: Route) -> None:
        """Start its worker, if none is known to answer, and wait for nothing."""
        if self.ready(route) is None and route.space_id not in self._starting:
            self._begin(route)

    def _begin(self, route: Route) -> asyncio.Task[Pool]:
        space_id = route.space_id
        task = self._starting[space_id] = asyncio.create_task(self._start(route))
        task.add_done_callback(lambda done: self._started(space_id, done))
        return task

    async def _start(self, route: Route) -> Pool:
        space_id = route.space_id
        known = self._pools.get(space_id)
        if known is not None:
            known.doubted = False
        try:
            worker = await _ensure_worker(space_id)
        except (runtime.StartRefused, TimeoutError):
            self.forget(space_id)
            raise
        self._asked_at[space_id] = asyncio.get_running_loop().time()
        before = self._pools.get(space_id)
        if before is None and route.stage != Stage.RUNNING:
            self._woken(route)
        left = {pool.worker.id: pool for pool in _all(before)}
        pools = [left.pop(w.id) if w.id in left else Pool(w) for w in (worker, *worker.others)]
        first = pools[0]
        if before is not None and first is not before:
            first.doubted = before.doubted  # something changed while the agent was asked
        self._keep(space_id, pools)
        for pool in left.values():
            self._let_go(pool)
        return first

    def _keep(self, space_id: int, pools: list[Pool]) -> None:
        for pool in pools:
            pool.peers = tuple(pools) if len(pools) > 1 else ()
        self._pools[space_id] = pools[0]

    def _started(self, space_id: int, task: asyncio.Task[Pool]) -> None:
        if self._starting.get(space_id) is task:
            del self._starting[space_id]
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may have

    def forget(self, space_id: int, worker_id: UUID | None = None) -> None:
        """Stop using the Space's workers for new requests. Answers under way run on until they end.

        Args:
            space_id: the Space.
            worker_id: only this worker, if it is still known. While others are, they get its visitors, and soon the
                agent is asked again: it may be there after all.
        """
        known = _all(self._pools.get(space_id))
        gone = [pool for pool in known if worker_id is None or pool.worker.id == worker_id]
        others = [pool for pool in known if pool not in gone]
        if others and gone:
            self._keep(space_id, others)
            asyncio.get_running_loop().call_later(REASK_SECONDS, self.doubt, space_id)
        elif gone:
            del self._pools[space_id]
            self._asked_at.pop(space_id, None)
        for pool in gone:
            self._let_go(pool)

    def _let_go(self, pool: Pool) -> None:
        task = asyncio.create_task(pool.close_when_idle())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def doubt(self, space_id: int) -> None:
        """Something changed: ask the agent again before the next request."""
        if pool := self._pools.get(space_id):
            pool.doubted = True

    def forget_unused(self) -> None:
        """Let go of workers nobody has asked for lately: a socket kept would keep an ended worker's namespace."""
        since = time.monotonic() - FORGET_SECONDS
        for space_id, first in list(self._pools.items()):
            if all(pool.is_idle and pool.used_at < since for pool in _all(first)):
                self.forget(space_id)

    async def close(self) -> None:
        """Close every connection now."""
        for task in (*self._starting.values(), *self._closing):
            task.cancel()
        await asyncio.gather(*self._starting.values(), *self._closing, return_exceptions=True)
        pools, self._pools = [pool for first in self._pools.values() for pool in _all(first)], {}
        for pool in pools:
            await pool.close()


async def _ensure_worker(space_id: int) -> runtime.RunningWorker:
    """As the agent's own, which is waited for while it is away. All who ask for the Space meanwhile share this wait."""
    now = asyncio.get_running_loop().time
    away_since, pause = None, FIRST_PAUSE_SECONDS
    while True:
        try:
            return await runtime.ensure_worker(space_id, timeout=WAKE_SECONDS)
        except runtime.AgentUnavailable:
            away_since = now() if away_since is None else away_since
            if now() + pause > away_since + AGENT_AWAY_SECONDS:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _all(first: Pool | None) -> tuple[Pool, ...]:
    """The pools of a Space whose first one this is."""
    return () if first is None else first.peers or (first,)
