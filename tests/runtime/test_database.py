"""The database from an event loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from apps.runtime import database
from apps.runtime.database import in_database
from tests.waiting import cancel_in_vain

pytestmark = pytest.mark.django_db(transaction=True)  # the connections that its threads may hold are looked at


async def test_whoever_is_cancelled_while_a_query_runs_waits_for_its_end() -> None:
    """Else a start that is broken off writes its worker's row after that worker's end was written."""
    begun, may_end = threading.Event(), threading.Event()
    written: list[str] = []

    def write() -> None:
        begun.set()
        may_end.wait(10)
        written.append("row")

    call = asyncio.ensure_future(in_database(write)())
    await asyncio.to_thread(begun.wait, 10)
    await cancel_in_vain(call)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert written == ["row"]


async def test_a_query_that_has_not_begun_is_called_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that leaves need not wait for a queue."""
    may_end = threading.Event()
    written: list[str] = []
    with ThreadPoolExecutor(1) as one:
        monkeypatch.setattr(database, "_executor", one)
        first = asyncio.ensure_future(in_database(lambda: may_end.wait(10))())
        second = asyncio.ensure_future(in_database(lambda: written.append("row"))())
        await asyncio.sleep(0.01)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(second, 5)
        may_end.set()
        assert await first
    assert written == []
