"""What is begun in a thread is taken back once it is there, however often its start is broken off."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from apps.runtime import storage
from tests.waiting import cancel_in_vain


async def test_a_volume_that_is_opened_for_nobody_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_open = threading.Event(), threading.Event()
    closed: list[Path] = []

    class Slow:
        def __init__(self, image: Path, size: int, owner: int) -> None:
            self.image = image
            begun.set()
            may_open.wait(10)

        def close(self) -> None:
            closed.append(self.image)

    monkeypatch.setattr(storage, "Volume", Slow)
    image = Path("/nowhere/image")
    taking = asyncio.ensure_future(storage.Storages()._open(image, 1, 0))
    await asyncio.to_thread(begun.wait, 10)
    await cancel_in_vain(taking)
    may_open.set()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert closed == [image]
