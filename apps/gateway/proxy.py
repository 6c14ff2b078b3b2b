"""Passing an HTTP request on to a worker, and its answer back, byte by byte as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import structlog
from multidict import CIMultiDict
from yarl import URL

from apps.gateway import affinity, framed, pages
from apps.gateway import headers as h
from apps.gateway.answers import Answer
from apps.gateway.bodies import Body, BodyTooLarge, ClientGone
from apps.gateway.requests import IDEMPOTENT_METHODS, Request
from apps.gateway.routes import Route
from apps.gateway.workers import NoSocket, Pool, Workers
from apps.runtime.client import AgentUnavailable
from apps.spaces.models import SDK

log = structlog.get_logger(__name__)

HEAD_SECONDS = 900.0
"""How long an app may take until its answer begins."""


class BrokenAnswer(Exception):
    """The app broke off after its answer had begun: the server must close the connection, so that the client
    does not take what came for the whole."""


def upstream_headers(request: Request, route: Route, drop: frozenset[bytes]) -> CIMultiDict[str]:
    """What the app gets: the visitor's end-to-end headers, and ours that say who asks and under which address.

    Gradio builds its absolute addresses from `X-Forwarded-Host` and `-Proto`, and takes a path after the host as
    the root it is mounted at. uvicorn believes `X-Forwarded-For` from loopback, which is where we come from.
    """
    passed = h.for_upstream(request.headers, drop=drop, websocket=request.kind == "websocket")
    if request.prefix:
        passed = [(k, v) for k, v in passed if k != b"cookie"]
    headers = CIMultiDict((k.decode("latin-1"), v.decode("latin-1")) for k, v in passed)
    headers["Host"] = request.host
    headers["X-Forwarded-For"] = request.client
    headers["X-Forwarded-Proto"] = request.scheme
    headers["X-Forwarded-Host"] = request.host
    if request.prefix:
        headers["X-Forwarded-Prefix"] = request.prefix
        if route.sdk == SDK.GRADIO:
            headers["X-Forwarded-Host"] = request.host + request.prefix
    if framed.is_framed_page(request):
        headers["Accept-Encoding"] = "identity"
        for name in ("If-None-Match", "If-Modified-Since", "Range"):
            headers.popall(name, None)
    return headers


def upstream_url(request: Request, pool: Pool) -> URL:
    """The address inside the worker, percent-encoded exactly as the visitor's."""
    target = pool.base.encode() + request.path + (b"?" + request.query if request.query else b"")
    return URL(target.decode("ascii"), encoded=True)


@asynccontextmanager
async def _ask(
    request: Request, pool: Pool, headers: CIMultiDict[str], body: Body
) -> AsyncIterator[aiohttp.ClientResponse]:
    async with pool.use():
        async with asyncio.timeout(HEAD_SECONDS):
            response = await pool.session.request(
                request.method,
                upstream_url(request, pool),
                headers=headers,
                data=body.chunks() if request.expects_body else None,
                allow_redirects=False,
            )
        pool.release()
        try:
            yield response
        finally:
            response.release()  # closes the connection unless the answer was read to its end


async def proxy_http(
    request: Request, answer: Answer, body: Body, *, route: Route, workers: Workers, pool: Pool, drop: frozenset[bytes]
) -> None:
    """Pass a request on to the Space's worker.

    Where the worker turns out to be gone, another of the Space's, or the one asked for anew, is tried once, if nothing
    can have happened by the first attempt. What a worker had got when it broke off is not given to another: it may be
    what ended the first.

    Args:
        request: what is asked.
        answer: where the answer goes.
        body: the request's body.
        route: the Space.
        workers: to find the worker again.
        pool: the worker.
        drop: headers that carried one of our tokens.

    Raises:
        BrokenAnswer: the app broke off in the middle.
        apps.runtime.client.StartRefused, AgentUnavailable, TimeoutError: as `Workers.find`.
    """
    headers = upstream_headers(request, route, drop)
    for attempt in (1, 2):
        try:
            async with _ask(request, pool, headers, body) as response:
                await _pass_back(response, answer)
            return
        except (aiohttp.ClientError, NoSocket, AgentUnavailable) as error:
            if answer.started:
                raise BrokenAnswer(str(error)) from error
            gone = give_up(error, workers, route, pool)
            if attempt == 2 and isinstance(error, AgentUnavailable):
                raise
            if attempt == 2 or not _may_repeat(error, request, body):
                reason = error.__cause__
                if isinstance(reason, BodyTooLarge | ClientGone):
                    raise reason from None
                log.info("app did not answer", space=route.slug, error=repr(error))
                await answer.page(pages.bad_gateway())
                return
            if gone:
                pool = affinity.choose(await workers.find(route), request)
        except TimeoutError:
            if answer.started:
                raise
            await answer.page(pages.gateway_timeout())
            return


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
    return isinstance(error, aiohttp.ClientConnectorError | NoSocket | AgentUnavailable)


def _may_repeat(error: Exception, request: Request, body: Body) -> bool:
    return not body.begun and (_never_arrived(error) or request.method in IDEMPOTENT_METHODS)


async def _pass_back(response: aiohttp.ClientResponse, answer: Answer) -> None:
    try:
        headers = h.from_upstream(response.raw_headers)
    except h.BadHeaders:
        await answer.page(pages.bad_gateway())
        return
    await answer.start(response.status, headers)
    if answer.method == "HEAD" or response.status in (204, 304):
        await answer.body(b"", more=False)
        return
    async for chunk in response.content.iter_any():
        await answer.body(chunk, more=not response.content.at_eof())
    if not answer.complete:
        await answer.body(b"", more=False)
