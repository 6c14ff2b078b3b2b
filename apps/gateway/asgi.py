"""The data plane: one request to a Space, from its host to its worker. Raw ASGI, no Django request cycle.

The story of a request is `Gateway._http`, read from top to bottom: which Space, may this visitor see it, is it
withheld, then a file, the worker, or a page that says why not.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from threading import get_ident
from urllib.parse import parse_qsl

import structlog
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope, WebSocketScope
from django.conf import settings
from django.db.utils import Error as DatabaseError
from structlog.contextvars import bind_contextvars

from apps.gateway import access, affinity, cors, framed, pages, passwords
from apps.gateway import headers as h
from apps.gateway.answers import Answer, Answered, DataAnswer, HostAnswer
from apps.gateway.assets import Assets
from apps.gateway.bodies import Body, BodyTooLarge
from apps.gateway.breaker import Breaker
from apps.gateway.exchanges import Exchange, Exchanges, TooManyOpen
from apps.gateway.limits import Limits, retry_after
from apps.gateway.metrics import Metrics
from apps.gateway.observe import Outcome, Recorder, Seen
from apps.gateway.preloads import Preloads, link
from apps.gateway.proxy import BrokenAnswer, proxy_http
from apps.gateway.requests import Request, is_for_gateway, is_web_origin, new_request_id, read
from apps.gateway.routes import Route, Routes
from apps.gateway.snapshots import THEME, Snapshots, coding_for
from apps.gateway.static import serve_static
from apps.gateway.takes import Taker
from apps.gateway.usage import Usage
from apps.gateway.watch import Watch
from apps.gateway.websockets import GOING_AWAY, POLICY, TRY_AGAIN, Traffic, close, proxy_websocket
from apps.gateway.workers import WAKE_SECONDS, Pool, TooManyWaiting, Workers
from apps.runtime.client import AgentUnavailable, StartRefused
from apps.spaces.models import SDK, Stage

__all__ = ["gateway", "is_for_gateway", "shut_down", "start"]

log = structlog.get_logger(__name__)

PAGE_PATIENCE_SECONDS = 1.5
"""How long a visit waits for a waking Space before it gets the waking page."""
READY_PATIENCE_SECONDS = 20.0
DOUBT_SECONDS = 0.02
"""How long the agent may take to say that a worker is awake before its page is drawn."""
ABORT = "portico.abort"
"""Name of an ASGI extension of ours: a message of this type makes the server close the connection at once."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks.

    Attributes:
        user_id: None for a stranger.
        session: see `access.Pass`; empty for a token.
        by_token: whether an access token said so.
        drop: headers that carried a token of ours, and that the app must not see.
    """

    user_id: int | None
    session: str
    by_token: bool
    drop: frozenset[bytes]


NotAwake = (StartRefused, TooManyWaiting, TimeoutError)
"""What `Workers.find` raises when there is no worker (yet)."""


class Gateway:
    """The gateway of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.routes = Routes()
        self.metrics = Metrics(self._gauges)
        self.usage = Usage()
        self.workers = Workers(self._woke)
        self.breaker = Breaker(lambda route: self.metrics.count("circuit_opened", route.slug))
        self.sessions = affinity.Sessions()
        self.rights = access.Rights()
        self.passwords = passwords.Passwords()
        self.exchanges = Exchanges(loop)
        self.assets = Assets()
        self.snapshots = Snapshots()
        self.preloads = Preloads()
        self.recorder = Recorder(loop, (self.metrics, self.usage))
        self.limits = Limits(self.exchanges)
        jobs = (self.metrics.keep_written, self.limits.keep_settled, self.usage.keep_kept)
        self.taker = Taker()
        self.watch = Watch(self.routes, self.workers, self.rights, self.exchanges, taker=self.taker, jobs=jobs)

    def _woke(self, route: Route) -> None:
        self.metrics.count("wakes", route.slug)
        self.usage.woke(route.space_id)

    def _gauges(self) -> tuple[dict[str, int], dict[str, int]]:
        numbers = {"worker_connections": self.workers.connections, "waiting_requests": self.workers.waiting}
        return self.exchanges.by_slug(), numbers

    async def http(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one HTTP request."""
        self.watch.start()
        try:
            request = read(scope)
        except h.BadHeaders as error:
            # What follows on the connection may be the rest of what could not be understood.
            await HostAnswer(send, "GET", wants_html=False, request_id=new_request_id()).page(
                pages.bad_request(str(error)), [(b"connection", b"close")]
            )
            return
        bind_contextvars(request_id=request.id)
        answer: HostAnswer | DataAnswer
        if request.prefix:
            answer = DataAnswer(send, request.method, prefix=request.prefix, request_id=request.id)
        else:
            answer = HostAnswer(
                send,
                request.method,
                wants_html=request.wants_html,
                third_party=framed.is_third_party(request),
                framed_page=framed.is_framed_page(request),
                in_frame=framed.is_in_frame(request),
                request_id=request.id,
            )
        outcome: Outcome | None = None
        body = Body(receive, settings.PORTICO_MAX_FILE_BYTES, self.loop)
        wait = self.limits.enter(request.client)
        try:
            if wait:
                await answer.page(pages.too_many_requests(retry_after(wait)))
            else:
                await self._http(request, answer, body)
        except Answered:
            return
        except BodyTooLarge:
            await _say(answer, pages.too_large(settings.PORTICO_MAX_FILE_BYTES))
        except (DatabaseError, AgentUnavailable) as error:
            log.error("gateway cannot answer", error=repr(error))
            await _say(answer, pages.unavailable())
        except BrokenAnswer as error:
            log.info("app broke off its answer", host=request.host, error=str(error))
            outcome = Outcome.BROKEN
            await _abort(scope, send)
        except asyncio.CancelledError:
            if not body.gone:
                raise
            outcome = Outcome.CLIENT_GONE
        except Exception:
            log.exception("gateway failed", host=request.host)
            outcome = Outcome.BROKEN
            if answer.started:
                await _abort(scope, send)
            await _say(answer, pages.internal_error())
        finally:
            body.stop()
            if not wait:
                self.limits.leave(request.client)
            if body.gone:
                _uncancel()
            self._record(request, answer, body, outcome or _outcome(request, answer))

    def _record(self, request: Request, answer: HostAnswer | DataAnswer, body: Body, outcome: Outcome) -> None:
        route, ended = answer.route, time.perf_counter()
        seconds = ended - request.begun_at
        self.recorder.add(
            Seen(
                time.time() - seconds,
                request.id,
                route.space_id if route else 0,
                route.slug if route else "",
                request.method,
                request.prefix.encode() + request.path if request.prefix else request.path,
                answer.status,
                body.received,
                answer.sent,
                answer.begun_at - request.begun_at if answer.started else None,
                seconds,
                outcome,
                request.first.get(b"user-agent", b""),
                request.client,
                request.waited,
                request.wants_html,
            )
        )

    async def _http(self, request: Request, answer: HostAnswer | DataAnswer, body: Body) -> None:
        if _declared_length(request) > settings.PORTICO_MAX_FILE_BYTES:
            raise BodyTooLarge
        route = await self.routes.find(request.key) if request.key else None
        if request.is_preflight and not request.prefix:
            if route is not None and not route.closed and isinstance(answer, HostAnswer):
                answer.route = route
            if await cors.answer_preflight(request, answer, route):
                return
        visitor = await self._visitor(request, route)
        if isinstance(answer, HostAnswer) and await self._redeem(request, route, answer):
            return
        if route is None or not await self.rights.may_see(route, visitor.user_id, visitor.session):
            await self._no_entry(request, route, answer, body)
            return
        answer.route = route
        if route.tells_username:
            await self._tell_username(request, visitor)
        if isinstance(answer, HostAnswer):
            answer.cross_origin = cors.allowed_origin(request, route, by_token=visitor.by_token)
        if route.withheld:
            await answer.page(pages.withheld())
            return
        if not request.prefix and request.path == pages.READY_PATH:
            await self._say_when_ready(route, answer, request)
            return
        if not request.prefix and (script := framed.SCRIPTS.get(request.path)) is not None:
            await answer.whole(200, framed.SCRIPT_HEADERS, script)
            return
        if route.lock and not request.prefix and request.path == pages.PASSWORD_PATH:
            await answer.whole(303, [(b"cache-control", b"no-store"), (b"location", b"/")], b"")
            return
        if wait := self.limits.space(route.space_id):
            await answer.page(pages.too_many_requests(retry_after(wait)))
            return
        try:
            exchange = self.exchanges.open(route, visitor.user_id, visitor.session)
        except TooManyOpen:
            await answer.page(pages.too_busy())
            return
        try:
            await self._serve(request, answer, body, route=route, visitor=visitor, exchange=exchange)
        finally:
            self.exchanges.close(exchange)

    async def _tell_username(self, request: Request, visitor: Visitor) -> None:
        """Have the app told who asks, but not when a script of another site does so with the visitor's cookie."""
        if visitor.user_id is None:
            return
        if visitor.by_token or request.origin is None or request.origin == request.own_origin:
            request.username = await self.rights.username(visitor.user_id, visitor.session)

    async def _no_entry(
        self, request: Request, route: Route | None, answer: HostAnswer | DataAnswer, body: Body
    ) -> None:
        """For whoever may not see the Space: ask for the password and take it, or say that there is nothing."""
        if route is None or not route.lock:
            await answer.page(pages.not_found(_label(request)))
            return
        answer.route = route
        wanted = _address(request.path, _without_code(request.query)[0])
        if isinstance(answer, HostAnswer) and request.path == pages.PASSWORD_PATH:
            wanted = "/"
            if request.method == "POST":
                answer.wants_html = request.is_for_browser
                try:
                    wanted, given = passwords.read_form(request, await passwords.read_body(body))
                    await self.passwords.check(route, request.client, given)
                except passwords.Refused as refused:
                    await answer.page(pages.password_required(wanted, refused=str(refused), wait=refused.wait))
                    return
                cookie = access.set_cookie(access.Pass(route.space_id, None, access.for_lock(route.lock)))
                headers = [(b"cache-control", b"no-store"), (b"set-cookie", cookie), (b"location", wanted.encode())]
                await answer.whole(303, headers, b"")
                return
        await answer.page(pages.password_required(wanted))

    async def _serve(
        self, request: Request, answer: Answer, body: Body, *, route: Route, visitor: Visitor, exchange: Exchange
    ) -> None:
        try:
            if route.sdk == SDK.STATIC:
                if route.deployment_id is None or route.stage == Stage.PAUSED:
                    await answer.page(pages.for_stage(route.stage, route.slug, route.stage_message))
                else:
                    await serve_static(request, route, answer)
                return
            if route.assets and (asset := await self.assets.serve(request, route, answer)):
                if route.snapshot:
                    self.preloads.asked(request, route, asset)
                return
            if wait := self.breaker.refuses(route):
                await answer.page(pages.failing(retry_after(wait)))
                return
            if route.snapshot:
                if request.method == "POST":
                    self.preloads.acted(request, route)
                elif await self._draw(request, route, answer):
                    return
            patience = PAGE_PATIENCE_SECONDS if request.wants_html else WAKE_SECONDS
            pool = await self._awake(route, patience, request)
            if pool.peers:
                await self.sessions.recognise(pool, request, body)
                pool = affinity.choose(pool, request, answer)
            await proxy_http(
                request, answer, body,
                route=route, workers=self.workers, pool=pool, drop=visitor.drop, breaker=self.breaker,
            )  # fmt: skip
        except NotAwake as reason:
            await answer.page(_why_not_awake(reason, route))
        except asyncio.CancelledError:
            if exchange.verdict is None:
                raise
            _uncancel()
            if answer.started:
                raise BrokenAnswer(exchange.verdict.code) from None
            await answer.page(exchange.verdict)

    async def _draw(self, request: Request, route: Route, answer: Answer) -> bool:
        """Answer from the snapshot while the worker wakes. False when there is none for this, or it is awake: what it
        says then is sent as the snapshot would be, compressed and with what a page asks for next."""
        found = await self.snapshots.find(request, route)
        if found is None:
            return False
        if isinstance(answer, HostAnswer) and route.assets and request.wants_html:
            content = found.content
            files = self.preloads.of_page(request, route, content.shape, content.preloads.get(found.path))
            answer.link = link(files, f"{THEME}?v={content.theme}".encode() if content.theme else b"")
        if not found.is_named and (self.workers.ready(route) is not None or await self._is_awake_after_all(route)):
            if isinstance(answer, HostAnswer):
                answer.coding = coding_for(request, answer)
            return False
        drawn = await self.snapshots.draw(found, request, route, answer)
        self.workers.wake(route)
        await answer.whole(200, drawn.headers, drawn.body)
        return True

    async def _is_awake_after_all(self, route: Route) -> bool:
        """Whether a worker that was known a moment ago is there, which the agent says at once. Where the Space has been
        put to sleep since, nobody needs to be asked."""
        if route.stage != Stage.RUNNING or not self.workers.is_known(route):
            return False
        try:
            await self.workers.find(route, DOUBT_SECONDS)
        except TimeoutError:
            return False
        except NotAwake:
            pass
        return True

    async def _awake(self, route: Route, patience: float, request: Request) -> Pool:
        if route.stage == Stage.PAUSED:
            raise StartRefused(route.stage, route.stage_message)
        if pool := self.workers.ready(route):
            return pool
        since = time.perf_counter()
        try:
            return await self.workers.find(route, patience)
        finally:
            request.waited = time.perf_counter() - since

    async def _say_when_ready(self, route: Route, answer: Answer, request: Request) -> None:
        """For the waking page: wait a while, then say whether it is time to load the app."""
        answer.wants_html = False
        try:
            if route.sdk != SDK.STATIC:
                await self._awake(route, READY_PATIENCE_SECONDS, request)
        except NotAwake as reason:
            await answer.page(_why_not_awake(reason, route))
            return
        said = json.dumps({"stage": Stage.RUNNING}).encode()
        await answer.whole(200, [(b"content-type", b"application/json"), (b"cache-control", b"no-store")], said)

    async def _visitor(self, request: Request, route: Route | None) -> Visitor:
        owner: int | None = None
        drop: set[bytes] = set()
        for name in h.TOKEN_HEADERS:
            value = request.first.get(name)
            token = h.bearer(value) if value else None
            if token and (found := await self.rights.token(token)).ours:
                owner = owner or found.user_id
                drop.add(name)
        if owner is not None:
            return Visitor(owner, "", True, frozenset(drop))
        if route is not None and (route.closed or route.tells_username) and not request.prefix:
            value_of_cookie = h.cookie(request.headers, h.ACCESS_COOKIE)
            given = access.read_cookie(value_of_cookie, route.space_id) if value_of_cookie else None
            if given is not None:
                return Visitor(given.user_id, given.session, False, frozenset(drop))
        return Visitor(None, "", False, frozenset(drop))

    async def _redeem(self, request: Request, route: Route | None, answer: HostAnswer) -> bool:
        """Turn a code or link in the address into a cookie, and send the visitor to the address without it."""
        if b"__sign=" not in request.query or request.method != "GET":
            return False
        query, code = _without_code(request.query)
        if code is None:
            return False
        headers: h.Headers = [(b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer")]
        given = await access.redeem(code, route.space_id) if route is not None else None
        if given is not None:
            headers.append((b"set-cookie", access.set_cookie(*given)))
            answer.route = route
        elif route is None or route.closed:
            return False
        await answer.whole(303, [*headers, (b"location", _address(request.path, query).encode())], b"")
        return True

    async def websocket(self, scope: WebSocketScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one websocket."""
        self.watch.start()
        await receive()  # websocket.connect
        try:
            request = read(scope)
        except h.BadHeaders:
            await close(send, POLICY)
            return
        bind_contextvars(request_id=request.id)
        traffic = Traffic(outcome=Outcome.REFUSED)
        route: Route | None = None
        wait = self.limits.enter(request.client)
        try:
            if wait:
                await close(send, TRY_AGAIN)
                return
            route = await self.routes.find(request.key) if request.key else None
            visitor = await self._visitor(request, route)
            if route is None or not await self.rights.may_see(route, visitor.user_id, visitor.session):
                route = None
                await close(send, POLICY)
                return
            if route.withheld or route.sdk == SDK.STATIC or not _may_connect(request, route, visitor):
                await close(send, POLICY)
                return
            if route.tells_username:
                await self._tell_username(request, visitor)
            await self._serve_websocket(scope, receive, send, request, route=route, visitor=visitor, traffic=traffic)
        except (TooManyOpen, *NotAwake):
            traffic.outcome = Outcome.REFUSED
            await close(send, TRY_AGAIN)
        except (DatabaseError, AgentUnavailable) as error:
            log.error("gateway cannot answer", error=repr(error))
            traffic.outcome = Outcome.BROKEN
            await close(send, GOING_AWAY)
        finally:
            if not wait:
                self.limits.leave(request.client)
            self._record_websocket(request, route, traffic)

    async def _serve_websocket(
        self,
        scope: WebSocketScope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        request: Request,
        *,
        route: Route,
        visitor: Visitor,
        traffic: Traffic,
    ) -> None:
        if self.limits.space(route.space_id) or self.breaker.refuses(route):
            raise TooManyOpen
        exchange = self.exchanges.open(route, visitor.user_id, visitor.session)
        try:
            pool = affinity.choose(await self._awake(route, WAKE_SECONDS, request), request)
            traffic.outcome = Outcome.WOKE if request.waited and route.stage != Stage.RUNNING else Outcome.OK
            await proxy_websocket(
                scope, receive, send, request,
                route=route, workers=self.workers, pool=pool, drop=visitor.drop, traffic=traffic, breaker=self.breaker,
            )  # fmt: skip
        except asyncio.CancelledError:
            if exchange.verdict is None:
                raise
            _uncancel()
            traffic.outcome = Outcome.REFUSED
            await close(send, POLICY, exchange.verdict.title)
        finally:
            self.exchanges.close(exchange)

    def _record_websocket(self, request: Request, route: Route | None, traffic: Traffic) -> None:
        ended = time.perf_counter()
        seconds = ended - request.begun_at
        accepted = traffic.accepted_at
        self.recorder.add(
            Seen(
                at=time.time() - seconds,
                id=request.id,
                space_id=route.space_id if route else 0,
                slug=route.slug if route else "",
                method="WEBSOCKET",
                path=request.prefix.encode() + request.path,
                status=101 if accepted else 403,
                bytes_in=traffic.received,
                bytes_out=traffic.sent,
                first=accepted - request.begun_at if accepted else None,
                seconds=seconds,
                outcome=traffic.outcome,
                agent=request.first.get(b"user-agent", b""),
                address=request.client,
                waited=request.waited,
                is_page=False,
            )
        )

    async def close(self) -> None:
        await self.watch.stop()
        await self.taker.close()
        await self.preloads.close()
        await self.recorder.close()
        with suppress(DatabaseError):
            await self.usage.keep()
        await self.workers.close()
        self.assets.close()


OUTCOMES = {
    "bad_gateway": Outcome.BROKEN,
    "gateway_timeout": Outcome.TIMEOUT,
    "internal_error": Outcome.BROKEN,
    "unavailable": Outcome.BROKEN,
}
"""By the code of what the gateway says itself; everything else is a refusal."""


def _outcome(request: Request, answer: Answer) -> Outcome:
    if answer.said is None:
        route = answer.route
        return Outcome.WOKE if route and request.waited and route.stage != Stage.RUNNING else Outcome.OK
    if answer.said.waits:
        return Outcome.WAKING if answer.wants_html else Outcome.TIMEOUT
    return OUTCOMES.get(answer.said.code, Outcome.REFUSED)


def _why_not_awake(reason: Exception, route: Route) -> pages.Page:
    if isinstance(reason, StartRefused):
        return pages.for_stage(reason.stage, route.slug, reason.message)
    if isinstance(reason, TooManyWaiting):
        return pages.too_busy()
    return pages.for_stage(Stage.APP_STARTING, route.slug)


def _may_connect(request: Request, route: Route, visitor: Visitor) -> bool:
    """Whether this page may open a websocket; browsers ask nobody before they do."""
    if request.origin is None:
        return True
    if request.prefix or not is_web_origin(request.origin):
        return False
    return visitor.by_token or cors.is_welcome(request, route)


def _label(request: Request) -> str | None:
    return request.key[1] if request.key and request.key[0] == "subdomain" else None


def _declared_length(request: Request) -> int:
    return int(request.first.get(b"content-length", 0))


def _address(path: bytes, query: bytes) -> str:
    """Path and query for a `Location` on the same host: browsers take `//` and `/\\` for another one's beginning."""
    local = b"/" + path.lstrip(b"/\\")
    return (local + b"?" + query if query else local).decode("ascii")


def _without_code(query: bytes) -> tuple[bytes, str | None]:
    """The query without `__sign`, otherwise as it came, and the code."""
    kept = [part for part in query.split(b"&") if not part.startswith(b"__sign=")]
    code = dict(parse_qsl(query.decode("latin-1"))).get("__sign")
    return b"&".join(kept), code


def _uncancel() -> None:
    task = asyncio.current_task()
    assert task is not None
    while task.cancelling():
        task.uncancel()


async def _say(answer: Answer, page: pages.Page) -> None:
    if not answer.started:
        with suppress(Answered):
            await answer.page(page)


async def _abort(scope: HTTPScope, send: ASGISendCallable) -> None:
    if ABORT in (scope.get("extensions") or {}):
        await send({"type": ABORT})  # type: ignore[arg-type,misc]
        return
    raise BrokenAnswer("the answer is incomplete")  # what ASGI servers close the connection for


_gateways: dict[int, Gateway] = {}
"""By thread: one loop runs in each, and to ask which takes a system call."""


def current() -> Gateway:
    """The gateway of the running event loop."""
    found = _gateways.get(get_ident())
    if found is None or not found.loop.is_running():
        found = _gateways[get_ident()] = Gateway(asyncio.get_running_loop())
    return found


async def gateway(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """The ASGI application for everything that `is_for_gateway`."""
    if scope["type"] == "http":
        await current().http(scope, receive, send)
    elif scope["type"] == "websocket":
        await current().websocket(scope, receive, send)


def start() -> None:
    """Begin the running loop's background tasks, as the first request does: what is said meanwhile is heard."""
    current().watch.start()


async def shut_down() -> None:
    """Close the running loop's connections and tasks."""
    if found := _gateways.pop(get_ident(), None):
        await found.close()
