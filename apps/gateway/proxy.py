"""Passing an HTTP request on to a worker, and its answer back, byte by byte as they come."""

from __future__ import annotations

import asyncio

import aiohttp
import structlog
from yarl import URL

from apps.gateway import affinity, framed, pages
from apps.gateway import headers as h
from apps.gateway.answers import Answer
from apps.gateway.bodies import Body
from apps.gateway.breaker import Breaker
from apps.gateway.requests import IDEMPOTENT_METHODS, Request
from apps.gateway.routes import Route
from apps.gateway.upstream import Connection, UpstreamError
from apps.gateway.workers import NoSocket, Pool, Workers
from apps.runtime.client import AgentUnavailable
from apps.spaces.models import SDK

log = structlog.get_logger(__name__)

HEAD_SECONDS = 900.0
"""How long an app may neither begin its answer nor take any of the request's body."""
CONDITIONAL = frozenset({b"accept-encoding", b"if-none-match", b"if-modified-since", b"range"})


class BrokenAnswer(Exception):
    """The app broke off after its answer had begun: the server must close the connection, so that the client
    does not take what came for the whole."""


def upstream_headers(request: Request, route: Route, drop: frozenset[bytes]) -> h.Headers:
    """What the app gets: the visitor's end-to-end headers, and ours that say who asks and under which address.

    Gradio builds its absolute addresses from `X-Forwarded-Host` and `-Proto`, and takes a path after the host as
    the root it is mounted at. uvicorn believes `X-Forwarded-For` from loopback, which is where we come from.
    `apps.runtime.zygote.inside.people` has Gradio read `X-Portico-User`.
    """
    host = request.host.encode("latin-1")
    passed = h.for_upstream(request.headers, drop=drop, websocket=request.kind == "websocket")
    headers = [
        (b"Host", host),
        *passed,
        (b"X-Forwarded-For", request.client.encode()),
        (b"X-Forwarded-Proto", request.scheme.encode()),
        (b"X-Request-ID", request.id.encode()),
    ]
    if request.prefix:
        prefix = request.prefix.encode()
        # Parts of several ranges would be told apart by a parameter of their type, which does not pass there.
        headers = [(k, v) for k, v in headers if k != b"cookie" and not (k == b"range" and b"," in v)]
        headers.append((b"X-Forwarded-Prefix", prefix))
        headers.append((b"X-Forwarded-Host", host + prefix if route.sdk == SDK.GRADIO else host))
    else:
        headers.append((b"X-Forwarded-Host", host))
    if request.username:
        headers.append((b"X-Portico-User", request.username.encode()))
    framed_page, in_frame = framed.is_framed_page(request), framed.is_in_frame(request)
    if framed.scripts(route.sdk, framed_page=framed_page, in_frame=in_frame):
        headers = [(k, v) for k, v in headers if k not in CONDITIONAL]
        headers.append((b"Accept-Encoding", b"identity"))
    return headers


def upstream_url(request: Request, pool: Pool) -> URL:
    """The address inside the worker, percent-encoded exactly as the visitor's."""
    target = pool.base.encode() + _target(request)
    return URL(target.decode("ascii"), encoded=True)


def _target(request: Request) -> bytes:
    return request.path + b"?" + request.query if request.query else request.path


def _head(request: Request, headers: h.Headers, *, chunked: bool) -> bytes:
    """A request line and headers as they go to the app (RFC 9112, section 3)."""
    parts = [request.method.encode("ascii"), b" ", _target(request), b" HTTP/1.1\r\n"]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n")
    return b"".join(parts)


async def proxy_http(
    request: Request,
    answer: Answer,
    body: Body,
    *,
    route: Route,
    workers: Workers,
    pool: Pool,
    drop: frozenset[bytes],
    breaker: Breaker,
) -> None:
    """Pass a request on to the Space's worker.

    Where the worker turns out to be gone, another of the Space's, or the one asked for anew, is tried once, if nothing
    can have happened by the first attempt; and one after the other while nothing listens at them: the agent may not
    know yet. What a worker had got when it broke off is not given to another: it may be what ended the first.

    Args:
        request: what is asked.
        answer: where the answer goes.
        body: the request's body.
        route: the Space.
        workers: to find the worker again.
        pool: the worker.
        drop: headers that carried one of our tokens.
        breaker: told whether the app answers.

    Raises:
        BrokenAnswer: the app broke off in the middle.
        BodyTooLarge: the body grew beyond its limit on its way.
        apps.runtime.client.StartRefused, AgentUnavailable, TimeoutError: as `Workers.find`.
    """
    streams = request.expects_body
    chunked = streams and b"content-length" not in request.first
    head = _head(request, upstream_headers(request, route, drop), chunked=chunked)
    if streams and not chunked and (whole := await body.at_once()) is not None:
        head, streams = head + whole, False
    attempts = Attempts(pool)
    while True:
        pool.begin()
        try:
            # Where there are other workers, what one broke off at is not given to them: so it must have got it.
            sure = request.method not in IDEMPOTENT_METHODS or bool(pool.peers)
            connection = await pool.connection(sure=sure)
            sender = None
            try:
                connection.begin(request.method, head)
                if streams:
                    sender = asyncio.create_task(connection.send_body(body.chunks(), chunked=chunked))
                await _pass_back(connection, answer, route, breaker)
            finally:
                if sender is not None and not sender.done():
                    sender.cancel()
                    connection.reusable = False
                pool.put_back(connection)
            return
        except (UpstreamError, NoSocket, AgentUnavailable) as error:
            if answer.started:
                raise BrokenAnswer(str(error)) from error
            gone = give_up(error, workers, route, pool)
            is_last = attempts.is_last(error)
            if is_last and isinstance(error, AgentUnavailable):
                raise
            if is_last or not _may_repeat(error, request, body):
                log.info("app did not answer", space=route.slug, error=repr(error))
                if not isinstance(error, AgentUnavailable):
                    breaker.failed(route)
                await answer.page(pages.bad_gateway())
                return
        except AnswerTooLate:
            breaker.failed(route)
            await answer.page(pages.gateway_timeout())
            return
        finally:
            pool.end()
        if gone:
            pool = affinity.choose(await workers.find(route), request)


class AnswerTooLate(Exception):
    """The app neither answered nor took any of the body for `HEAD_SECONDS`."""


class Patience:
    """Gives an exchange up with `AnswerTooLate`, until it is cancelled. A long upload is no late answer."""

    __slots__ = ("_connection", "_taken", "_timer")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._wait()

    def _wait(self) -> None:
        self._taken = self._connection.taken
        self._timer = self._connection.loop.call_later(HEAD_SECONDS, self._look)

    def _look(self) -> None:
        if self._connection.taken > self._taken:
            self._wait()
        else:
            self._connection.give_up(AnswerTooLate())

    def cancel(self) -> None:
        self._timer.cancel()


class Attempts:
    """Counts how often something is tried: twice, or once at each of the Space's workers and at one that is asked for
    anew, while nothing listens at them. After an error by which it may have arrived only once more.

    Args:
        pool: the first worker.
    """

    def __init__(self, pool: Pool) -> None:
        self._left = max(2, len(pool.peers) + 1)
        self._has_arrived = False

    def is_last(self, error: Exception) -> bool:
        """Whether what ended with this error is not to be tried again."""
        self._left -= 1
        is_last = self._left == 0 or self._has_arrived
        self._has_arrived = not _never_arrived(error)
        return is_last


def give_up(error: Exception, workers: Workers, route: Route, pool: Pool) -> bool:
    """Whether to look for a worker anew after this error; the one that failed is then not used any more. Of several the
    one that the visitor is with is left only when nothing listens there any more; an app may close a connection and
    live. Without the agent nobody knows, and it is asked again."""
    if isinstance(error, AgentUnavailable):
        workers.doubt(route.space_id)
        return True
    gone = _never_arrived(error) or not pool.peers
    if gone:
        workers.forget(route.space_id, pool.worker.id)
    return gone


def _never_arrived(error: Exception) -> bool:
    if isinstance(error, UpstreamError):
        return not error.arrived
    return isinstance(error, aiohttp.ClientConnectorError | NoSocket | AgentUnavailable)


def _may_repeat(error: Exception, request: Request, body: Body) -> bool:
    return not body.begun and (_never_arrived(error) or request.method in IDEMPOTENT_METHODS)


async def _pass_back(connection: Connection, answer: Answer, route: Route, breaker: Breaker) -> None:
    patience = Patience(connection)
    try:
        await connection.head()
    finally:
        patience.cancel()
    breaker.answered(route)
    try:
        headers = h.from_upstream(connection.headers)
    except h.BadHeaders:
        connection.reusable = False
        await answer.page(pages.bad_gateway())
        return
    status = connection.status
    if status in (204, 304):
        # A length would be that of a body which does not come (RFC 9110, section 8.6); servers count what they send.
        await answer.start(status, [(k, v) for k, v in headers if k != b"content-length"])
        await answer.body(b"", more=False)
        return
    await answer.start(status, headers)
    if answer.method == "HEAD":
        await answer.body(b"", more=False)
        return
    while chunk := await connection.chunk():
        await answer.body(chunk, more=not connection.complete)
    if not answer.complete:
        await answer.body(b"", more=False)
