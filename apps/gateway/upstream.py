"""HTTP/1.1 towards a worker (RFC 9112): one connection, one exchange at a time.

The general client libraries spend more time on one exchange than all the rest of the gateway. This one knows what is
always so here: an open socket into the worker, headers that are ready, a body that is passed on as it comes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import cast

import httptools

MAX_HEAD_BYTES = 64 * 1024
AHEAD_BYTES = 256 * 1024
"""How much of an answer waits here for a slow client before the app is no longer read."""
MAX_STATUS = 599
"""RFC 9110, section 15: what lies beyond is invalid, and servers have no line for it."""
MAX_INFORMATIONAL = 16
"""1xx answers before the real one; each is dropped."""


class UpstreamError(Exception):
    """The app did not answer, or not to the end, or not in HTTP.

    Attributes:
        arrived: whether it can have seen the request.
    """

    def __init__(self, text: str, *, arrived: bool = True) -> None:
        super().__init__(text)
        self.arrived = arrived


class Connection(asyncio.Protocol):
    """One connection into a worker.

    Attributes:
        status: of the answer, after `head`.
        headers: of the answer as the app wrote them, after `head`.
        complete: the answer is here to its end.
        reusable: another request may follow on this connection.
        idle_since: when it was last put aside.
        taken: bytes of the request's body that were sent on.
    """

    __slots__ = (
        "_buffered", "_chunks", "_error", "_head_bytes", "_head_done", "_informational", "_is_head", "_parser",
        "_paused", "_socket", "_transport", "_until_eof", "_waiter", "_writable", "complete", "headers", "idle_since",
        "loop", "open", "reusable", "status", "taken",
    )  # fmt: skip

    def __init__(self, opened: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.open = False
        self._socket = opened
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._reset(is_head=False)
        self.complete = True

    def _reset(self, *, is_head: bool) -> None:
        self.status = self.taken = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = self.reusable = False
        self._chunks: list[bytes] = []
        self._buffered = self._head_bytes = self._informational = 0
        self._is_head = is_head
        self._head_done = self._until_eof = self._paused = False
        self._error: Exception | None = None

    # What the gateway calls

    def begin(self, method: str, head: bytes) -> None:
        """Send a request's head; its body follows by `send_body`, its answer by `head` and `chunk`."""
        self._reset(is_head=method == "HEAD")
        assert self._transport is not None
        self._transport.write(head)

    async def send_body(self, chunks: AsyncIterator[bytes], *, chunked: bool) -> None:
        """Send a body as it comes, no faster than the app takes it. What `chunks` raises ends the exchange."""
        assert self._transport is not None
        try:
            async for chunk in chunks:
                if not self.open:
                    return
                if chunked:
                    self._transport.writelines((b"%x\r\n" % len(chunk), chunk, b"\r\n"))
                else:
                    self._transport.write(chunk)
                if self._writable is not None:
                    await self._writable
                self.taken += len(chunk)
            if chunked and self.open:
                self._transport.write(b"0\r\n\r\n")
        except Exception as error:
            self.give_up(error)

    async def head(self) -> None:
        """Wait until the answer's status and headers are here.

        Raises:
            UpstreamError: there will be none.
        """
        while not self._head_done:
            await self._wait()

    async def chunk(self) -> bytes:
        """What has come of the answer's body since the last call; empty when that was all.

        Raises:
            UpstreamError: it broke off.
        """
        while not self._chunks:
            if self.complete:
                return b""
            await self._wait()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused:
            self._paused = False
            if self.open and self._transport is not None:
                self._transport.resume_reading()
        return data

    @property
    def has_ended(self) -> bool:
        """Whether the app has closed it, known a moment before the event loop says so: a request written into a closed
        connection may have arrived or not, and most must not be sent twice."""
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return not self.open
        except OSError:
            return True

    def close(self) -> None:
        """Close at once. The app notices that nobody waits for its answer."""
        self.open = self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def give_up(self, error: Exception) -> None:
        """End the exchange: whoever waits for its answer gets `error`."""
        if self._error is None and not self.complete:
            self._error = error
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)
        self.close()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        if not self._head_done:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.give_up(UpstreamError(f"no HTTP: {error}"))
            return
        if not self._head_done and self._head_bytes > MAX_HEAD_BYTES:
            self.give_up(UpstreamError("its headers are too large"))
        elif self._buffered > AHEAD_BYTES and not self._paused and not self.complete:
            assert self._transport is not None
            self._paused = True
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = self.reusable = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self.complete:
            return
        if exc is None and self._until_eof:
            self.complete = True
            self._wake()
        else:
            self.give_up(UpstreamError(str(exc) if exc else "the app closed the connection"))

    def pause_writing(self) -> None:
        self._writable = self.loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # What the parser calls

    def on_message_begin(self) -> None:
        if self.complete:
            self.close()  # it talks without being asked

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done:  # later ones are trailers, which nobody asked for (RFC 9110, section 6.5.1)
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._informational += 1
            return
        if status > MAX_STATUS:
            self.give_up(UpstreamError(f"a status that is none: {status}"))
            return
        length = coding = None
        for name, value in self.headers:
            if len(name) in (14, 17):
                lowered = name.lower()
                if lowered == b"content-length":
                    length = value
                elif lowered == b"transfer-encoding":
                    coding = value
        if coding is not None and coding.strip().lower() != b"chunked":
            self.give_up(UpstreamError("a transfer coding that cannot be followed"))
            return
        self.status = status
        self._head_done = True
        if self._is_head:
            self.complete = True  # the parser would wait for the body that the headers speak of
        elif length is None and coding is None and status not in (204, 304):
            self._until_eof = True
        self._wake()

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self._chunks.append(data)
            self._buffered += len(data)
            self._wake()

    def on_message_complete(self) -> None:
        if self.complete:
            return
        if not self._head_done:
            self.headers.clear()
            if self._informational > MAX_INFORMATIONAL:
                self.give_up(UpstreamError("nothing but informational answers"))
            return
        self.complete = True
        self.reusable = self.open and self._parser.should_keep_alive()
        self._wake()


async def connect(made: socket.socket, port: int, seconds: float) -> Connection:
    """Open a connection on a socket that lives in the worker's network.

    Args:
        made: unconnected, non-blocking; closed when this fails.
        port: where the app listens on its own 127.0.0.1.
        seconds: to wait at most.

    Raises:
        UpstreamError: nothing listens there.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            await loop.sock_connect(made, ("127.0.0.1", port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _, connection = await loop.create_connection(lambda: Connection(made, loop), sock=made)
    except (OSError, TimeoutError) as error:
        made.close()
        raise UpstreamError(f"nothing listens: {error!r}", arrived=False) from error
    except BaseException:
        made.close()
        raise
    return connection
