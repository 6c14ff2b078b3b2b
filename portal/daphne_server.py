"""Daphne as the web process' server, with bounds on what it takes in and back-pressure on what it gives out.

Daphne reads a request's whole body into a temporary file before it calls the application, without a limit, and then
puts all of it into memory; it writes answers into memory as fast as the application gives them. Its classes are
derived from here so that

- a body over the limit of its path is refused with 413 while it arrives, and headers are bounded;
- bodies are spooled to the data folder's disk and read from there piece by piece, forms are not parsed twice;
- `send` waits while the client reads slowly, and a websocket's client waits while the application is busy;
- an answer that broke off closes its connection, instead of looking complete;
- nobody but a trusted proxy says where a request came from.

What is left to Daphne's design: a body is read to its end before the application sees its first byte. So an upload's
progress inside a demo jumps, and each upload is written twice: here, to be read from there, and by whoever gets it.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import IO, Any

import daphne.server  # first: it installs the reactor that runs on asyncio  # isort: skip

import structlog
from asgiref.typing import ASGI3Application
from daphne.endpoints import build_endpoint_description_strings
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.logger import globalLogBeginner
from twisted.web.http import HTTPChannel

from apps.gateway.asgi import ABORT, shut_down, start
from portal.bounds import (
    BACKLOG,
    LINGER_SECONDS,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_WEBSOCKET_BYTES,
    PHRASES,
    body_limit,
    is_of_pages,
    refusal,
    say_where_from,
    spool_folder,
)

log = structlog.get_logger(__name__)

MEMORY_BYTES = 256 * 1024
"""Bodies up to this size never touch the disk."""
READ_BYTES = 64 * 1024
WEBSOCKET_CONNECT_SECONDS = 80
"""Longer than the gateway waits for a Space to wake."""
MESSAGES_AHEAD = 16
GONE_SECONDS = 0.1
STATUSES = frozenset(HTTPStatus)


class Channel(HTTPChannel):
    """A connection, with bounded headers."""

    totalHeadersSize = MAX_HEADER_BYTES
    maxHeaders = MAX_HEADERS
    MAX_LENGTH = MAX_HEADER_BYTES

    def _send100Continue(self) -> None:
        if not self.requests[-1].refused:
            super()._send100Continue()


class Flow:
    """A transport's wish to be written to, as something to await. Twisted calls the three methods."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def pauseProducing(self) -> None:
        self._open.clear()

    def resumeProducing(self) -> None:
        self._open.set()

    stopProducing = resumeProducing

    async def wait(self) -> None:
        if not self._open.is_set():
            await self._open.wait()


class Request(WebRequest):
    """One HTTP request, its body spooled within its limit."""

    def __init__(self, channel: Any, *args: Any) -> None:
        self.refused = False
        self.spool: IO[bytes] | None = None
        self.flow = Flow()
        super().__init__(channel, *args, parsePOSTFormSubmission=False)

    def gotLength(self, length: int | None) -> None:
        """Called with the declared length once the headers are in; None for a chunked body."""
        host = self.getHeader(b"host") or b""
        path = self.channel._path.split(b"?", 1)[0]
        where = host.decode("latin-1").strip().lower(), path.decode("latin-1")
        self.limit, self.of_pages = body_limit(*where), is_of_pages(*where)
        self.received = 0
        self.content: IO[bytes] = tempfile.SpooledTemporaryFile(MEMORY_BYTES, dir=spool_folder())  # noqa: SIM115
        if length is not None and length > self.limit:
            self.refuse(413)

    def handleContentChunk(self, data: bytes) -> None:
        if self.refused:
            return
        self.received += len(data)
        if self.received > self.limit:
            self.refuse(413)
            return
        try:
            self.content.write(data)
        except OSError as error:
            log.error("cannot spool a request", error=str(error))
            self.refuse(507)

    def refuse(self, status: int) -> None:
        """Answer now, take and drop for a moment what still comes, then close."""
        self.refused = True
        wants_page = self.of_pages and b"text/html" in (self.getHeader(b"accept") or b"")
        kind, body = refusal(status, self.limit, wants_page=wants_page)
        self.channel.write(
            b"HTTP/1.1 " + PHRASES[status] + b"\r\nContent-Type: " + kind + b"\r\nConnection: close\r\n"
            b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
        )
        reactor.callLater(LINGER_SECONDS, self._close)

    def _close(self) -> None:
        if self.channel is not None:
            self.channel.loseConnection()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self.refused:
            self._close()
            return
        super().requestReceived(command, path, version)

    def process(self) -> Any:
        self.requestHeaders.removeHeader(b"daphne-root-path")
        return super().process()

    def take_body(self) -> IO[bytes]:
        """The body, for the application to read piece by piece; Daphne itself finds an empty one."""
        self.spool, self.content = self.content, io.BytesIO()
        return self.spool

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """With the reason that the standard library knows: for many a status Twisted says "Unknown Status"."""
        if message is None and code in STATUSES:
            message = HTTPStatus(code).phrase.encode()
        super().setResponseCode(code, message)

    def handle_reply(self, message: Any) -> None:
        if message["type"] == "http.response.start" and self.channel is not None and not self.finished:
            self.registerProducer(self.flow, True)
            if (b"connection", b"close") in message.get("headers", ()):
                self.channel.persistent = False
        super().handle_reply(message)

    def handle_exception(self, exception: BaseException) -> None:
        if self._response_started:
            self.abort()
        else:
            super().handle_exception(exception)

    def abort(self) -> None:
        """Close the connection at once, so that nobody takes what was sent for the whole."""
        if self.channel is not None:
            self.channel.transport.abortConnection()

    def finish(self) -> None:
        if self.producer:
            self.unregisterProducer()
        self._let_go()
        super().finish()

    def connectionLost(self, reason: Any) -> None:
        self._let_go()
        super().connectionLost(reason)

    def _let_go(self) -> None:
        self.flow.resumeProducing()
        if self.spool is not None:
            self.spool.close()


class Factory(HTTPFactory):
    protocol = Channel

    def buildProtocol(self, address: Any) -> Any:
        channel = super().buildProtocol(address)
        channel.requestFactory = Request
        return channel


class Websocket(WebSocketProtocol):
    """One websocket: every close code and empty message passes, and neither side floods the other."""

    def onOpen(self) -> None:
        self.flow = Flow()
        self.transport.unregisterProducer()
        self.transport.registerProducer(self.flow, True)
        super().onOpen()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        super().onMessage(payload, isBinary)
        if self.application_queue.qsize() >= MESSAGES_AHEAD:
            self.transport.pauseProducing()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if hasattr(self, "flow"):
            self.flow.resumeProducing()
        super().onClose(wasClean, code, reason)

    def taken(self) -> None:
        """The application took a message."""
        if self.application_queue.qsize() < MESSAGES_AHEAD and self.state == self.STATE_OPEN:
            self.transport.resumeProducing()

    def handle_reply(self, message: Any) -> None:
        if message["type"] == "websocket.send" and self.state == self.STATE_OPEN:
            binary = message.get("bytes")
            self.serverSend(message["text"] if binary is None else binary, binary is not None)
        elif message["type"] == "websocket.close" and self.state != self.STATE_CONNECTING:
            reason = (message.get("reason") or "").encode()[:123].decode(errors="ignore").encode()
            self.sendCloseFrame(code=message.get("code") or 1000, reasonUtf8=reason or None)
        else:
            super().handle_reply(message)


class Server(daphne.server.Server):
    """Daphne's server with the protocols above."""

    def run(self) -> None:
        self.connections: dict[Any, dict[str, Any]] = {}
        self.http_factory = Factory(self)
        self.ws_factory = WebSocketFactory(self, server=self.server_name)
        self.ws_factory.protocol = Websocket
        self.ws_factory.setProtocolOptions(
            autoPingTimeout=self.ping_timeout,
            allowNullOrigin=True,  # who may connect is decided by the application, per Space
            openHandshakeTimeout=self.websocket_handshake_timeout,
            maxMessagePayloadSize=self.websocket_max_message_size,
            maxFramePayloadSize=self.websocket_max_frame_size,
        )
        reactor.callLater(0, start)
        globalLogBeginner.beginLoggingTo([lambda _: None], redirectStandardIO=False, discardBuffer=True)
        reactor.callLater(1, self.application_checker)
        reactor.callLater(2, self.timeout_checker)
        for description in self.endpoints:
            listener = serverFromString(reactor, description).listen(self.http_factory)
            listener.addCallback(self.listen_success)
            listener.addErrback(self.listen_error)
            self.listeners.append(listener)
        asyncio.set_event_loop(reactor._asyncioEventloop)
        reactor.addSystemEventTrigger("before", "shutdown", self.end_applications)
        if not self.abort_start:
            reactor.run(installSignalHandlers=self.signal_handlers)

    def end_applications(self) -> Any:
        """Cancel what runs, and close the gateway's connections."""
        running = [d["application_instance"] for d in self.connections.values() if "application_instance" in d]
        for application in running:
            application.cancel()

        async def ended() -> None:
            await asyncio.gather(*running, return_exceptions=True)
            await shut_down()

        return Deferred.fromFuture(asyncio.ensure_future(ended()))

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> asyncio.Queue[Any] | None:
        if protocol not in self.connections:
            return None
        say_where_from(scope)
        queue: asyncio.Queue[Any] = asyncio.Queue()
        receive: Callable[[], Any]
        if scope["type"] == "http":
            scope["extensions"] = {ABORT: {}}
            receive = _receive_http(protocol.take_body(), queue)
        else:
            # The path that Daphne gives was parsed as a URL and may lack a part.
            scope["raw_path"] = protocol.http_request_uri.split("?", 1)[0].encode("latin-1")
            receive = partial(_receive_message, protocol, queue)
        scope.setdefault("asgi", {"version": "3.0"})
        self.connections[protocol]["application_instance"] = asyncio.ensure_future(
            self.application(scope, receive, partial(self.handle_reply, protocol))
        )
        return queue

    async def handle_reply(self, protocol: Any, message: Any) -> None:
        if message["type"] == ABORT:
            protocol.abort()
            return
        if "disconnected" in self.connections.get(protocol, {"disconnected": 0}):
            # Nobody listens. An application that does not notice must not spin until Daphne cancels it.
            await asyncio.sleep(GONE_SECONDS)
            return
        await super().handle_reply(protocol, message)
        if message["type"] in ("http.response.body", "websocket.send"):
            await protocol.flow.wait()


def _receive_http(body: IO[bytes], queue: asyncio.Queue[Any]) -> Callable[[], Any]:
    """ASGI's `receive` over a spooled body; what Daphne queues after it is the disconnect."""
    size = body.seek(0, io.SEEK_END)
    body.seek(0)
    complete = False

    async def receive() -> Any:
        nonlocal complete
        if not complete and not body.closed:
            chunk = body.read(READ_BYTES)
            complete = body.tell() >= size
            if complete:
                body.close()
            return {"type": "http.request", "body": chunk, "more_body": not complete}
        while (message := await queue.get())["type"] == "http.request":
            pass  # the empty body that Daphne found
        return message

    return receive


async def _receive_message(protocol: Websocket, queue: asyncio.Queue[Any]) -> Any:
    message = await queue.get()
    protocol.taken()
    return message


def server(application: ASGI3Application, bind: str, port: int) -> Server:
    """A server for `application`, not yet running."""
    endpoints = [f"{e}:backlog={BACKLOG}" for e in build_endpoint_description_strings(host=bind, port=port)]
    return Server(
        application=application,
        endpoints=endpoints,
        http_timeout=None,  # event streams last as long as somebody looks
        websocket_timeout=-1,
        websocket_connect_timeout=WEBSOCKET_CONNECT_SECONDS,
        websocket_handshake_timeout=WEBSOCKET_CONNECT_SECONDS,
        websocket_max_message_size=MAX_WEBSOCKET_BYTES,
        websocket_max_frame_size=MAX_WEBSOCKET_BYTES,
        server_name="",
        verbosity=0,
    )
