"""A request's body on its way to the app, and the news that its sender has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from asgiref.typing import ASGIReceiveCallable

CHUNKS_AHEAD = 2


class BodyTooLarge(Exception):
    """The body is larger than the limit."""


class ClientGone(Exception):
    """The client closed the connection in the middle of its body."""


class Body:
    """Reads ASGI's `receive` in a task of its own, a little ahead of the app, so that a disconnect is noticed
    whatever the app is doing.

    Args:
        receive: ASGI's.
        limit: bytes; `BodyTooLarge` beyond.
    """

    def __init__(self, receive: ASGIReceiveCallable, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._chunks: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(CHUNKS_AHEAD)
        self.begun = False
        """Whether the app was given any of it: then the request cannot be repeated."""

    async def pump(self) -> None:
        """Read until the client has gone; returns then."""
        size, complete = 0, False
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                if not complete:
                    await self._chunks.put(ClientGone())
                return
            if complete or message["type"] != "http.request":
                continue
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._limit:
                await self._chunks.put(BodyTooLarge())
                complete = True
                continue
            if chunk:
                await self._chunks.put(chunk)
            if not message.get("more_body", False):
                complete = True
                await self._chunks.put(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, once.

        Raises:
            BodyTooLarge: more than the limit arrived.
            ClientGone: it will never be complete.
        """
        self.begun = True
        while (chunk := await self._chunks.get()) is not None:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk
