"""Waiting for what comes when it comes, in code that waits and in code of an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

OFTEN_SECONDS = 0.05


def wait_until(
    condition: Callable[[], Any], seconds: float = 60, what: Callable[[], str] = lambda: "it did not happen"
) -> Any:
    """Poll until `condition` is true and return its value."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what()
        time.sleep(OFTEN_SECONDS)
    return found


async def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """The same for a test that runs in the event loop which it waits for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(OFTEN_SECONDS)


async def cancel_in_vain(task: asyncio.Future[Any]) -> None:
    """Cancel it more than once, and see that it goes on."""
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()


def wait_for_rest(count: Callable[[], int], seconds: float = 20) -> None:
    """Poll until `count` has begun and then stays as it is, for half a second."""
    seen, since = 0, time.monotonic()
    deadline = since + seconds
    while not seen or time.monotonic() < since + 0.5:
        assert time.monotonic() < deadline, "it does not come to rest"
        time.sleep(OFTEN_SECONDS)
        if (now := count()) != seen:
            seen, since = now, time.monotonic()
