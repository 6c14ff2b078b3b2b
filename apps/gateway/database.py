"""The gateway's way to the database: off the event loop, in threads that no page can occupy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from typing import ParamSpec, TypeVar

from django.db import close_old_connections

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 4
_executor = ThreadPoolExecutor(THREADS, thread_name_prefix="gateway-database")


def in_database(query: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Make an ORM function awaitable.

    `sync_to_async` would queue behind every synchronous Django view of the process, so the gateway has a few
    threads of its own.
    """

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        close_old_connections()
        try:
            return query(*args, **kwargs)
        finally:
            close_old_connections()

    @wraps(query)
    async def awaitable(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(_executor, partial(run, *args, **kwargs))

    return awaitable
