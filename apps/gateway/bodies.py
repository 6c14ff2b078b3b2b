"""A request's body on its way to the app, and the news that its sender has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from asgiref.typing import ASGIReceiveCallable, HTTPRequestEvent

CHUNKS_AHEAD = 2
WATCH_AFTER_SECONDS = 0.25
"""How long a request goes on before anybody looks whether its client is still there: most have ended by then."""


class BodyTooLarge(Exception):
    """The body is larger than the limit."""


class Body:
    """A request's body, read in a task of its own a little ahead of the app, which notices a disconnect whatever the
    app is doing. Most requests have no body, or one that comes in one piece, and are answered before anybody goes away,
    so that task is started when `chunks` are asked for, or after a moment.

    Args:
        receive: ASGI's.
        limit: bytes; `BodyTooLarge` beyond.
        loop: the running one.

    Attributes:
        begun: whether `chunks` were asked for: then the request cannot be repeated.
        gone: the client went away, and the task that made this was cancelled for it.
        received: bytes that came.
    """

    __slots__ = (
        "_chunks", "_has_ended", "_limit", "_loop", "_peeked", "_pump", "_receive", "_task", "_timer",
        "begun", "gone", "received",
    )  # fmt: skip

    def __init__(self, receive: ASGIReceiveCallable, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        self._receive = receive
        self._limit = limit
        self._chunks: asyncio.Queue[bytes | Exception | None] | None = None
        self._loop = loop
        self._task = asyncio.current_task(loop)
        self._pump: asyncio.Task[None] | None = None
        self._timer = loop.call_later(WATCH_AFTER_SECONDS, self._start)
        self._peeked: list[bytes | Exception | None] = []
        self._has_ended = self.begun = self.gone = False
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
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                break
            if self._has_ended or message["type"] != "http.request":
                continue
            try:
                chunk = self._take(message)
            except BodyTooLarge as error:
                await chunks.put(error)
                continue
            if chunk:
                await chunks.put(chunk)
            if self._has_ended:
                await chunks.put(None)
        self._lose()

    def _take(self, message: HTTPRequestEvent) -> bytes:
        chunk = message.get("body", b"")
        self.received += len(chunk)
        if self.received > self._limit:
            self._has_ended = True
            raise BodyTooLarge
        self._has_ended = not message.get("more_body", False)
        return chunk

    def _lose(self) -> None:
        self.gone = True
        assert self._task is not None
        self._task.cancel()

    async def at_once(self) -> bytes | None:
        """The whole body, when it comes in one piece; None when it does not, and `chunks` has it.

        Raises:
            BodyTooLarge: more than the limit arrived.
        """
        if self._chunks is not None:
            return None
        self._timer.cancel()  # two may not receive at once
        message = await self._receive()
        self._timer = self._loop.call_later(WATCH_AFTER_SECONDS, self._start)
        if message["type"] != "http.request":
            self._lose()
            await asyncio.sleep(0)  # where the cancellation arrives
            return None
        piece = self._take(message)
        if self._has_ended:
            return piece
        if piece:
            self._peeked.append(piece)
        return None

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
