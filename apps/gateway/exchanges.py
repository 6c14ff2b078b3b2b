"""What is going on right now: every open request and websocket, by Space.

Three things need to know: the limit on connections per Space, the agent's sleep (a Space with open requests is in
use), and a takedown, which ends what is open.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from django.conf import settings

from apps.gateway.pages import Page
from apps.gateway.routes import Route


class TooManyOpen(Exception):
    """The Space has as many open connections as it may."""


@dataclass(eq=False, slots=True)
class Exchange:
    """One open request or websocket.

    Attributes:
        route: the Space as it was when the request came.
        user_id: who asks, None for a stranger.
        session: see `apps.gateway.access.Pass`.
        task: what serves it; cancelled to end it.
        verdict: why it was ended, None while nobody ended it.
    """

    route: Route
    user_id: int | None
    session: str
    task: asyncio.Task[object]
    verdict: Page | None = None

    def end(self, verdict: Page) -> None:
        if self.verdict is None:
            self.verdict = verdict
            self.task.cancel()


class Exchanges:
    """The open exchanges of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open: dict[int, set[Exchange]] = {}
        self._touched: set[int] = set()
        self.woken = asyncio.Event()
        """Set when a Space that had no open request gets one."""
        self.elsewhere: dict[int, int] = {}
        """How many the portal's other processes have open, by Space, as far as they have said."""

    def open(self, route: Route, user_id: int | None, session: str) -> Exchange:
        """Register the running task as an exchange, until `close`.

        Raises:
            TooManyOpen: the limit per Space is reached.
        """
        task = asyncio.current_task(self._loop)
        assert task is not None
        of_space = self._open.get(route.space_id)
        if of_space is None:
            of_space = self._open[route.space_id] = set()
            self.woken.set()
        limit = settings.PORTICO_CONNECTIONS_PER_SPACE
        if limit and len(of_space) + self.elsewhere.get(route.space_id, 0) >= limit:
            if not of_space:
                del self._open[route.space_id]
            raise TooManyOpen
        exchange = Exchange(route, user_id, session, task)
        of_space.add(exchange)
        self._touched.add(route.space_id)
        return exchange

    def close(self, exchange: Exchange) -> None:
        of_space = self._open[exchange.route.space_id]
        of_space.discard(exchange)
        if not of_space:
            del self._open[exchange.route.space_id]

    def spaces(self) -> list[int]:
        return list(self._open)

    def of(self, space_id: int) -> list[Exchange]:
        return list(self._open.get(space_id, ()))

    def counts(self) -> dict[int, int]:
        """How many are open, by Space."""
        return {space_id: len(of_space) for space_id, of_space in self._open.items()}

    def by_slug(self) -> dict[str, int]:
        """How many are open, by the Space's name."""
        return {next(iter(of_space)).route.slug: len(of_space) for of_space in self._open.values()}

    def activity(self) -> dict[int, int]:
        """Open requests of every Space that had any since the last call; 0 for those that have none now."""
        seen = self._touched | set(self._open)
        self._touched = set()
        return {space_id: len(self._open.get(space_id, ())) for space_id in seen}
