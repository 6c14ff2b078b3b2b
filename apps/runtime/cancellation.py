"""What goes on to its end although whoever waits for it was cancelled."""

from __future__ import annotations

import asyncio
from typing import Any


async def until_done(begun: asyncio.Future[Any]) -> None:
    """Wait until it is done, whatever comes of it, however often that is cancelled meanwhile.

    Raises:
        asyncio.CancelledError: it was; `begun` is done nevertheless.
    """
    cancelled = False
    while not begun.done():
        try:
            await asyncio.wait({begun})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
