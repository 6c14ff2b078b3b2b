"""Passing a websocket on to a worker: messages, subprotocols and close codes, both ways.

Each direction awaits the other side's writing before it reads on, so a slow reader slows its sender.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import aiohttp
import structlog
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, WebSocketScope
from multidict import CIMultiDict

from apps.gateway import affinity
from apps.gateway.breaker import Breaker
from apps.gateway.observe import Outcome
from apps.gateway.proxy import Attempts, give_up, upstream_headers, upstream_url
from apps.gateway.requests import Request
from apps.gateway.routes import Route
from apps.gateway.workers import NoSocket, Pool, Workers
from apps.runtime.client import AgentUnavailable

log = structlog.get_logger(__name__)

MAX_MESSAGE_BYTES = 200 * 1024**2
"""Streamlit's own limit for what it sends to a page."""
HANDSHAKE_SECONDS = 30.0

NORMAL, GOING_AWAY, POLICY, INTERNAL_ERROR, TRY_AGAIN = 1000, 1001, 1008, 1011, 1013


@dataclass(slots=True)
class Traffic:
    """What went over a websocket.

    Attributes:
        accepted_at: when the handshake was answered, by `time.perf_counter`; 0 when the app refused.
        received, sent: bytes of binary messages and characters of texts, from the visitor and to them.
        outcome: how it ended.
    """

    accepted_at: float = 0.0
    received: int = 0
    sent: int = 0
    outcome: Outcome = Outcome.OK


async def close(send: ASGISendCallable, code: int, reason: str = "") -> None:
    """Close, or refuse when not yet accepted."""
    await send({"type": "websocket.close", "code": code, "reason": reason})


def passable(code: int | None) -> int:
    """A close code that may be written into a frame (RFC 6455, section 7.4): 1005, 1006 and 1015 may not."""
    if code is None or code == 1005:
        return NORMAL
    if code in (1004, 1006, 1015) or not 1000 <= code <= 4999:
        return INTERNAL_ERROR
    return code


async def proxy_websocket(
    scope: WebSocketScope,
    receive: ASGIReceiveCallable,
    send: ASGISendCallable,
    request: Request,
    *,
    route: Route,
    workers: Workers,
    pool: Pool,
    drop: frozenset[bytes],
    traffic: Traffic,
    breaker: Breaker,
) -> None:
    """Connect to the worker, accept the client under the subprotocol that the app chose, and pass messages on.

    Raises:
        apps.runtime.client.StartRefused, AgentUnavailable, TimeoutError: as `Workers.find`.
    """
    headers = CIMultiDict(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in upstream_headers(request, route, drop)
    )
    attempts = Attempts(pool)
    while True:
        pool.begin()
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                upstream = await pool.websocket(
                    upstream_url(request, pool),
                    headers=headers,
                    protocols=tuple(scope["subprotocols"]),
                    max_msg_size=MAX_MESSAGE_BYTES,
                    autoping=True,
                    compress=0,
                )
            await send(
                {
                    "type": "websocket.accept",
                    "subprotocol": upstream.protocol,
                    "headers": [(b"x-request-id", request.id.encode())],
                }
            )
            traffic.accepted_at = time.perf_counter()
            breaker.answered(route)
            await _pass_both_ways(receive, send, upstream, traffic)
            return
        except (aiohttp.WSServerHandshakeError, TimeoutError) as error:
            traffic.outcome = Outcome.TIMEOUT if isinstance(error, TimeoutError) else Outcome.REFUSED
            log.info("app refused a websocket", space=route.slug, error=str(error))
            await close(send, POLICY)
            return
        except (aiohttp.ClientError, NoSocket, AgentUnavailable) as error:
            gone = give_up(error, workers, route, pool)
            if attempts.is_last(error):
                traffic.outcome = Outcome.BROKEN
                if not isinstance(error, AgentUnavailable):
                    breaker.failed(route)
                log.info("app did not answer a websocket", space=route.slug, error=repr(error))
                await close(send, TRY_AGAIN)
                return
        finally:
            pool.end()
        if gone:
            pool = affinity.choose(await workers.find(route), request)


async def _pass_both_ways(
    receive: ASGIReceiveCallable,
    send: ASGISendCallable,
    upstream: aiohttp.ClientWebSocketResponse,
    traffic: Traffic,
) -> None:
    down = asyncio.create_task(_down(send, upstream, traffic))
    up = asyncio.create_task(_up(receive, upstream, traffic))
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        if not down.done():  # the client closed: the app hears its code
            code, reason = up.result()
            await upstream.close(code=passable(code), message=reason.encode())
    finally:
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
        if not upstream.closed:
            await asyncio.shield(upstream.close(code=GOING_AWAY))


async def _up(
    receive: ASGIReceiveCallable, upstream: aiohttp.ClientWebSocketResponse, traffic: Traffic
) -> tuple[int | None, str]:
    """From the client to the app, until the client closes; returns its close code and its reason."""
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return message["code"], message.get("reason") or ""
        if message["type"] != "websocket.receive":
            continue
        try:
            if (data := message.get("bytes")) is not None:
                traffic.received += len(data)
                await upstream.send_bytes(data)
            elif (text := message.get("text")) is not None:
                traffic.received += len(text)
                await upstream.send_str(text)
        except (aiohttp.ClientError, ConnectionError):
            return GOING_AWAY, ""


async def _down(send: ASGISendCallable, upstream: aiohttp.ClientWebSocketResponse, traffic: Traffic) -> None:
    """From the app to the client, until the app closes; the client hears its code and its reason."""
    while True:
        message = await upstream.receive()
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            traffic.sent += len(message.data)
        if message.type == aiohttp.WSMsgType.TEXT:
            await send({"type": "websocket.send", "text": message.data, "bytes": None})
        elif message.type == aiohttp.WSMsgType.BINARY:
            await send({"type": "websocket.send", "bytes": message.data, "text": None})
        else:
            break
    reason = message.extra if message.type == aiohttp.WSMsgType.CLOSE else None
    await close(send, passable(upstream.close_code), reason or "")
