"""A request's body on its way to the app, and the news that its sender has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from asgiref.typing import ASGIReceiveCallable

CHUNKS_AHEAD = 2
WATCH_AFTER_SECONDS = 0.05
"""How long a request without a body goes on before anybody looks whether its client is still there."""


class BodyTooLarge(Exception):
    """The body is larger than the limit."""


class Body:
    """A request's body, read in a task of its own a little ahead of the app, which notices a disconnect whatever the
    app is doing. Most requests have no body and are answered before anybody goes away, so that task is started when the
    body is asked for, or after a moment.

    Args:
        receive: ASGI's.
        limit: bytes; `BodyTooLarge` beyond.
        loop: the running one.

    Attributes:
        begun: whether the app was given any of it: then the request cannot be repeated.
        gone: the client went away, and the task that made this was cancelled for it.
        received: bytes that came.
    """

    __slots__ = (
        "_chunks", "_limit", "_peeked", "_pump", "_receive", "_task", "_timer", "begun", "gone",
        "received",
    )  # fmt: skip

    def __init__(self, receive: ASGIReceiveCallable, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        self._receive = receive
        self._limit = limit
        self._chunks: asyncio.Queue[bytes | Exception | None] | None = None
        self._task = asyncio.current_task(loop)
        self._pump: asyncio.Task[None] | None = None
        self._timer = loop.call_later(WATCH_AFTER_SECONDS, self._start)
        self._peeked: list[bytes | Exception | None] = []
        self.begun = self.gone = False
        self.received = 0

    def _start(self) -> asyncio.Queue[bytes | Exception | None]:
        if self._chunks is None:
            self._chunks = asyncio.Queue(CHUNKS_AHEAD)
            self._pump = asyncio.create_task(self._read(self._chunks))
        return self._chunks

    def stop(self) -> None:
        """Read no more, and notice nothing any more."""
        self._timer.cancel()
        if self._pump is not None:
            self._pump.cancel()

    async def _read(self, chunks: asyncio.Queue[bytes | Exception | None]) -> None:
        complete = False
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                break
            if complete or message["type"] != "http.request":
                continue
            chunk = message.get("body", b"")
            self.received += len(chunk)
            if self.received > self._limit:
                await chunks.put(BodyTooLarge())
                complete = True
                continue
            if chunk:
                await chunks.put(chunk)
            if not message.get("more_body", False):
                complete = True
                await chunks.put(None)
        self.gone = True
        assert self._task is not None
        self._task.cancel()

    async def peek(self, seconds: float) -> bytes:
        """The first bytes that come, which `chunks` gives all the same; empty when none come in time."""
        waiting = self._start()
        if not self._peeked:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    self._peeked.append(await waiting.get())
        return self._peeked[0] if self._peeked and isinstance(self._peeked[0], bytes) else b""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, once.

        Raises:
            BodyTooLarge: more than the limit arrived.
        """
        self.begun = True
        chunks = self._start()
        while (chunk := self._peeked.pop() if self._peeked else await chunks.get()) is not None:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk
