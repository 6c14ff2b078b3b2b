"""What a worker prints, from its pipe into the Space's log: in batches, bounded, and never in the agent's way."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)

BATCH_SECONDS = 0.1
READ_BYTES = 1024**2
"""Read per batch at most: a worker that prints faster waits for its pipe."""
KEPT_BYTES_PER_SECOND = 64 * 1024
BURST_BYTES = 512 * 1024
"""Kept at once after a quiet time; beyond it only `KEPT_BYTES_PER_SECOND`, the rest is counted and dropped."""
TAIL_LINES = 20
TAIL_LINE_BYTES = 500


class Writer(Protocol):
    """Where output goes: the log of a Space, or of the agent."""

    space_id: int

    async def awrite(self, data: bytes) -> None:
        """Append `data`."""


class Output:
    """Carries one worker's output to `writer`, from a pipe whose writing end is `descriptor` until `start` is
    called."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._pipe, self.descriptor = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._pipe, False)
        self._tail: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._partial = b""
        self._allowance, self._refilled = float(BURST_BYTES), time.monotonic()
        self._dropped = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read. The worker has its own copy of `descriptor` by now; this one is closed."""
        os.close(self.descriptor)
        self._task = asyncio.create_task(self._run())

    async def finish(self, last_word: str, seconds: float = 1.0) -> None:
        """Wait until everything printed is in the log, then add `last_word`. Not for ever: a process that left
        the worker might hold the pipe."""
        if self._task is None:
            os.close(self.descriptor)
        else:
            _, pending = await asyncio.wait({self._task}, timeout=seconds)
            for task in pending:
                task.cancel()
                await asyncio.wait({task})
        os.close(self._pipe)
        await self._write(last_word.encode())

    def last_lines(self) -> str:
        """The end of what this worker printed."""
        lines = [*self._tail, self._partial] if self._partial else list(self._tail)
        return b"\n".join(line[:TAIL_LINE_BYTES] for line in lines[-TAIL_LINES:]).decode(errors="replace").strip()

    async def _run(self) -> None:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._pipe, readable.set)
        try:
            while True:
                await readable.wait()
                loop.remove_reader(self._pipe)
                data, ended = self._read()
                self._remember(data)
                await self._write(self._bounded(data))
                if ended:
                    return
                await asyncio.sleep(BATCH_SECONDS)
                readable.clear()
                loop.add_reader(self._pipe, readable.set)
        finally:
            loop.remove_reader(self._pipe)
            if self._dropped:
                await self._write(self._dropped_line())

    async def _write(self, data: bytes) -> None:
        try:
            await self._writer.awrite(data)
        except Exception as error:  # a full disk, or a channel layer that is away: the worker goes on
            log.warning("output not written", space=self._writer.space_id, error=repr(error))

    def _read(self) -> tuple[bytes, bool]:
        parts: list[bytes] = []
        size = 0
        while size < READ_BYTES:
            try:
                part = os.read(self._pipe, 65536)
            except BlockingIOError:
                break
            if not part:
                return b"".join(parts), True
            parts.append(part)
            size += len(part)
        return b"".join(parts), False

    def _remember(self, data: bytes) -> None:
        lines = (self._partial + data[-TAIL_LINES * 4096 :]).split(b"\n")
        self._partial = lines.pop()[-4096:]
        self._tail.extend(lines)

    def _bounded(self, data: bytes) -> bytes:
        """What of `data` is kept, and once there is room again a line about what was not."""
        now = time.monotonic()
        self._allowance = min(BURST_BYTES, self._allowance + (now - self._refilled) * KEPT_BYTES_PER_SECOND)
        self._refilled = now
        kept = data[: int(self._allowance)]
        self._allowance -= len(kept)
        dropped = len(data) - len(kept)
        if self._dropped and not dropped:
            kept = self._dropped_line() + kept
        self._dropped += dropped
        return kept

    def _dropped_line(self) -> bytes:
        count, self._dropped = self._dropped, 0
        rate = KEPT_BYTES_PER_SECOND // 1024
        return f"\n[{count:,} bytes were not kept: the app prints more than {rate} KiB a second]\n".encode()
