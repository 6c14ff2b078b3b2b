"""uvicorn (uvloop, httptools) as the web process' server, with bounds on what it takes in and on how long it waits.

Unlike Daphne it hands a request over with its first byte, so that uploads stream to the app as they come. What it
lacks is here: bounds on headers, on bodies (`portal.bounds`), on clients that send or read too slowly, and an end of
the process that waits for nobody's event stream.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("WEBSOCKETS_MAX_LINE_LENGTH", str(48 * 1024))  # as for every other request

import structlog
import uvicorn
from asgiref.typing import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from apps.gateway.asgi import shut_down, start
from apps.gateway.proxy import BrokenAnswer
from portal.bounds import (
    BACKLOG,
    LINGER_SECONDS,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_WEBSOCKET_BYTES,
    Bounded,
    spool_folder,
)

log = structlog.get_logger(__name__)

HEAD_SECONDS = 30.0
"""How long a request's head may take to arrive."""
BODY_SECONDS = 60.0
"""How long a body may stop while it arrives and somebody waits for it."""
STALLED_SECONDS = 120.0
"""How long a client may read nothing of what waits for it."""
KEEP_ALIVE_SECONDS = 75
VERSIONS = frozenset({"1.1", "1.0"})
END_SECONDS = 5.0


class Outgoing:
    """The transport that an exchange writes its answer to.

    What is written within one turn of the loop leaves in one system call: an answer's head and body come apart, and
    two calls take longer than all that is done here. And a connection is not closed while its request still comes: it
    would be reset, and the client would not read why.
    """

    def __init__(self, protocol: Http) -> None:
        self._protocol, self._transport, self._loop = protocol, protocol.transport, protocol.loop
        self._held: list[bytes] = []
        self.is_closing = protocol.transport.is_closing

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)

    def flush(self) -> None:
        if self._held:
            if not self.is_closing():  # uvloop refuses to write to a transport that has closed
                self._transport.write(self._held[0] if len(self._held) == 1 else b"".join(self._held))
            self._held.clear()

    def close(self) -> None:
        self._protocol.close_after_body()

    def end(self) -> None:
        self.flush()
        self._transport.close()


class Http(HttpToolsProtocol):
    """A connection, with bounds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = self._in_body = self._ends = False
        self._head_bytes = 0
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._lingering: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._outgoing = Outgoing(self)
        self._timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._stalled, self._lingering):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._in_body:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEADER_BYTES:
            self.send_400_response("The request's headers are too large.")
        elif self._in_head or self._in_body:
            self._heard_at = self.loop.time()
            if self._timer is None:
                self._timer = self.loop.call_later(HEAD_SECONDS if self._in_head else BODY_SECONDS, self._too_slow)
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._in_body:
            left = BODY_SECONDS if self.flow.read_paused else self._heard_at + BODY_SECONDS - self.loop.time()
            if left > 0:
                self._timer = self.loop.call_later(left, self._too_slow)
                return
        self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum([len(name) + len(value) for name, value in self.headers])
        if size > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS:
            raise ValueError("too many or too large header fields")
        if self.parser.get_http_version() not in VERSIONS:
            raise ValueError("not HTTP/1")
        self._in_head, self._in_body, self._head_bytes = False, True, 0
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.transport = self._outgoing  # type: ignore[assignment]

    def handle_websocket_upgrade(self) -> None:
        self._in_body = False  # what comes from now on is not this class' affair
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().handle_websocket_upgrade()

    def on_message_complete(self) -> None:
        self._in_body = False
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        super().on_message_complete()
        if self._ends:
            self._outgoing.end()

    def on_response_complete(self) -> None:
        """An answer has gone. What still comes of its request's body is read and dropped for a moment, and then the
        connection goes on: a front server keeps it for the next visitor, whose request would be lost in one that
        closes. A client that waits for leave to send its body (`Expect`, RFC 9110, section 10.1.1) may never do."""
        super().on_response_complete()
        if not self._in_body or not self.cycle.response_complete:  # what comes may be the body of the next request
            return
        if self.expect_100_continue:
            self.close_after_body()
        else:
            self._lingering = self.loop.call_later(LINGER_SECONDS, self._outgoing.end)

    def close_after_body(self) -> None:
        """Close once what still comes of the body has come, or after a moment."""
        self._ends = True
        if self._in_body:
            self.loop.call_later(LINGER_SECONDS, self._outgoing.end)
        else:
            self._outgoing.end()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class WebSocket(WebSocketsSansIOProtocol):
    """A websocket that tells a client that vanished from one that closed (RFC 6455, section 7.1.5)."""

    def connection_lost(self, exc: Exception | None) -> None:
        # Where a close frame has come, its code is ahead of this one in the queue.
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
        super().connection_lost(exc)


class Server(uvicorn.Server):
    """uvicorn's server, ended by SIGTERM or SIGINT with status 0 and without waiting for open streams."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        yield

    def _end(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        start()

    async def shutdown(self, sockets: Any = None) -> None:
        for listener in self.servers:
            listener.close()
        running = list(self.server_state.tasks)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=END_SECONDS)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await shut_down()


def _is_news(record: logging.LogRecord) -> bool:
    """An answer that an app broke off ends as an exception here, which is how the connection is closed; the gateway has
    told of it. What is cancelled is cancelled by us, at the end."""
    exception = record.exc_info[1] if record.exc_info else None
    return not isinstance(exception, BrokenAnswer | asyncio.CancelledError)


def server(application: ASGI3Application, bind: str, port: int) -> Server:
    """A server for `application`, not yet running."""
    tempfile.tempdir = spool_folder()  # where Django spools what it is sent
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    return Server(
        uvicorn.Config(
            Bounded(application),
            host=bind,
            port=port,
            http=Http,
            ws=WebSocket,
            ws_max_size=MAX_WEBSOCKET_BYTES,
            ws_ping_interval=20.0,
            ws_ping_timeout=None,  # an app that is busy keeps its client's pongs waiting
            ws_per_message_deflate=False,
            lifespan="off",
            interface="asgi3",
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            log_level="warning",  # it would log addresses with their queries, which may hold a one-time code
        )
    )
