"""What is remembered of every exchange that ended: the access log, the figures, and who else wants to know.

An exchange costs the event loop one tuple. Every `FLUSH_SECONDS` the tuples of the time since are worked through, a
slice per turn of the loop, so that no request waits for the bookkeeping of others.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import StrEnum
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple, Protocol

import structlog
from django.conf import settings

log = structlog.get_logger(__name__)
access_log = logging.getLogger("portico.access")

FLUSH_SECONDS = 0.1
SLICE = 64
"""How many exchanges are worked through in one turn of the loop; 64 take less than a millisecond."""
MAX_KEPT = 100_000
"""Beyond, the oldest that were not worked through are lost, and their number is logged."""
MAX_PATH, MAX_AGENT = 500, 200


class Outcome(StrEnum):
    """How an exchange ended, as its visitor saw it."""

    OK = "ok"
    """The app (or the file) answered, whatever status it chose."""
    WOKE = "woke"
    """As `OK`, after the Space had been woken for it."""
    WAKING = "waking"
    """The gateway's page that waits for the Space."""
    REFUSED = "refused"
    """The gateway answered itself: no such Space, no right, over a limit, not running."""
    BROKEN = "broken"
    """The app did not answer or broke off, or the portal lacked what it needs."""
    TIMEOUT = "timeout"
    """The app did not answer in time."""
    CLIENT_GONE = "client_gone"
    """The visitor went away before the end."""


class Seen(NamedTuple):
    """One exchange that ended.

    Attributes:
        at: when it began, in seconds since 1970.
        id: the request's id.
        space_id: 0 where no Space was reached.
        slug: its name; empty where no Space was reached.
        method: `WEBSOCKET` for one.
        path: as asked, without the query.
        status: 0 when nothing was answered; 101 for a websocket that was accepted.
        bytes_in, bytes_out: of bodies or messages.
        first: seconds until the answer began, None when it never did.
        seconds: until the end.
        outcome: how it ended.
        agent: the `User-Agent`.
        address: the visitor's.
        waited: seconds that it waited for a worker, None when it did not.
        is_page: whether a browser shows the answer as a page.
    """

    at: float
    id: str
    space_id: int
    slug: str
    method: str
    path: bytes
    status: int
    bytes_in: int
    bytes_out: int
    first: float | None
    seconds: float
    outcome: Outcome
    agent: bytes
    address: str
    waited: float | None
    is_page: bool


class Observer(Protocol):
    """Somebody who counts exchanges. Runs on the event loop, so it must be quick and never raise."""

    def see(self, seen: Seen) -> None: ...


def line(seen: Seen) -> str:
    """One line of the access log: JSON in ASCII, so that nothing in it can begin another line or move a cursor.

    Neither query, cookie nor token is in it.
    """
    at = datetime.fromtimestamp(seen.at, UTC).isoformat(timespec="milliseconds")
    first = "null" if seen.first is None else f"{seen.first:.4f}"
    return (
        f'{{"timestamp":"{at}","logger":"portico.access","request_id":"{seen.id}","space":{quoted(seen.slug)},'
        f'"method":{quoted(seen.method)},"path":{quoted(seen.path[:MAX_PATH].decode("latin-1"))},'
        f'"status":{seen.status},"bytes_in":{seen.bytes_in},"bytes_out":{seen.bytes_out},'
        f'"first_byte_seconds":{first},"seconds":{seen.seconds:.4f},"outcome":"{seen.outcome.value}",'
        f'"user_agent":{quoted(seen.agent[:MAX_AGENT].decode("latin-1"))},"address":{quoted(seen.address)}}}'
    )


class Recorder:
    """Takes what was seen in one event loop, and hands it on a little later.

    Args:
        loop: the running one.
        observers: who hears of every exchange.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, observers: Iterable[Observer]) -> None:
        self._loop = loop
        self._observers = tuple(observers)
        self._kept: deque[Seen] = deque(maxlen=MAX_KEPT)
        self._lines: list[str] = []
        self._added = self._handled = 0
        self._scheduled: asyncio.Handle | None = None
        self._writer = ThreadPoolExecutor(1, "access-log")  # a pipe that nobody reads stops a thread, not the loop
        self._writing: set[asyncio.Future[None]] = set()

    def add(self, seen: Seen) -> None:
        """An exchange ended."""
        self._kept.append(seen)
        self._added += 1
        if self._scheduled is None:
            self._scheduled = self._loop.call_later(FLUSH_SECONDS, self._turn)

    def _turn(self) -> None:
        self._handle(SLICE)
        if self._kept:
            self._scheduled = self._loop.call_soon(self._turn)
            return
        self._scheduled = None
        self._report_lost()
        if self._lines:
            writing = self._loop.run_in_executor(self._writer, access_log.info, "\n".join(self._lines))
            self._lines = []
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)

    def _handle(self, count: int) -> None:
        logs = settings.PORTICO_ACCESS_LOG
        for _ in range(min(count, len(self._kept))):
            seen = self._kept.popleft()
            self._handled += 1
            if logs:
                self._lines.append(line(seen))
            for observer in self._observers:
                observer.see(seen)

    def _report_lost(self) -> None:
        if lost := self._added - self._handled:
            self._handled = self._added
            log.warning("more exchanges than can be recorded, the oldest are missing", count=lost)

    async def flush(self) -> None:
        """Hand on everything now, and wait until it is written."""
        if self._scheduled is not None:
            self._scheduled.cancel()
        self._handle(len(self._kept))
        self._turn()
        await asyncio.gather(*self._writing)

    async def close(self) -> None:
        await self.flush()
        self._writer.shutdown()
