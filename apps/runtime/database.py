"""The database from an event loop: off the loop, in a few threads that no page can occupy and that stay connected.

Elsewhere a connection is opened for each request, since a thread may end with its page. To open and close one takes
SQLite 2 to 6 ms, and a wake asks the database six times.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from typing import ParamSpec, TypeVar

from django.db import close_old_connections, connections

from apps.runtime.cancellation import until_done

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 4
KEPT_SECONDS = 600.0
"""How long a connection is used. One that broke is replaced at once."""
_executor = ThreadPoolExecutor(THREADS, thread_name_prefix="database")


def in_database(query: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Make an ORM function awaitable.

    `sync_to_async` would queue behind every synchronous Django view of the process.

    A call that is cancelled ends when its query has ended, if that had begun: a thread cannot be called back, and what
    its caller writes next must not be overtaken by it.
    """

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        close_old_connections()
        try:
            return query(*args, **kwargs)
        finally:
            now = time.monotonic()
            for connection in connections.all(initialized_only=True):
                if connection.close_at is not None and connection.close_at <= now:  # opened by this query
                    connection.close_at = now + KEPT_SECONDS
            close_old_connections()

    @wraps(query)
    async def awaitable(*args: P.args, **kwargs: P.kwargs) -> T:
        begun = _executor.submit(partial(run, *args, **kwargs))
        try:
            return await asyncio.wrap_future(begun)
        except asyncio.CancelledError:
            await until_done(asyncio.wrap_future(begun))
            raise

    return awaitable
