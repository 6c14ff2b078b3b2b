"""Runs of a Gradio Space over a websocket."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import structlog
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db.utils import Error as DatabaseError

from apps.accounts.models import User
from apps.embed.elsewhere import Relays
from apps.embed.inside import Caller
from apps.embed.messages import Authorize, Cancel, Resume, Start, read
from apps.embed.runs import Functions, Refused, Run, runs
from apps.gateway import access, pages, passwords
from apps.gateway import headers as h
from apps.gateway.asgi import current
from apps.gateway.requests import is_web_origin
from apps.gateway.routes import Route
from apps.spaces.consumers import NOT_FOUND, person_now
from apps.spaces.models import SDK

log = structlog.get_logger(__name__)

MAX_AT_ONCE = 8
"""Runs of one socket that are under way, or have told what its caller has not read."""
MAX_FAULTS = 100
"""Messages without effect after which a socket is closed."""
ANSWER_SECONDS = 2.0
"""How long another process may take to say that a run is there."""
IDLE_SECONDS = 300.0
"""How long a socket stays open on which nothing is said or runs."""

BAD_MESSAGES, TOO_MANY, IDLE, UNSUITABLE, WITHHELD, NOT_RUNNING = 1008, 4429, 4408, 4400, 4410, 4503
"""Codes that a socket is closed with, beside `NOT_FOUND`."""


relays = Relays(runs)
TOO_MANY_RUNS = Refused("too_many_runs", f"At most {MAX_AT_ONCE} runs may be under way on one socket.")
NO_SUCH_RUN = Refused("no_such_run", "There is no such run, or it is over.")


class Shut(Refused):
    """There is nothing for this caller here; the socket is closed.

    Attributes:
        close: with this code.
    """

    def __init__(self, code: str, why: str, close: int) -> None:
        super().__init__(code, why)
        self.close = close


class RunConsumer(AsyncWebsocketConsumer):
    """`/ws/spaces/<owner>/<name>/run`: the messages are those of `apps.embed.asyncapi`.

    Who may is asked at every message, as the gateway would: a public Space is for everybody; else a token in the
    handshake's `Authorization` or a message says who asks, or the cookie of somebody who is signed in, on the portal's
    own pages alone. The cookie counts for nothing when another site's page opens the socket.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._counted = False
        self._writer: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._runs: dict[str, tuple[Run, int]] = {}
        self._elsewhere: dict[str, asyncio.Task[None]] = {}
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._clean_up()
            for run, miss in self._elsewhere.items():
                miss.cancel()
                await relays.say("run.left", run, self.channel_name)

    def _clean_up(self) -> None:
        for run, _ in self._runs.values():
            run.leave(self._on_news)
        if self._writer is not None:
            self._writer.cancel()
        if self._idle is not None:
            self._idle.cancel()
        if self._counted:
            self._gateway.limits.leave(self._address)

    async def connect(self) -> None:
        names, headers = self.scope["url_route"]["kwargs"], self.scope["headers"]
        self._slug = f"{names['owner']}/{names['name']}".lower()
        self._gateway = current()
        self._gateway.watch.start()
        self._address = str(self.scope["client"][0]) if self.scope.get("client") else ""
        self._agent = h.get(headers, b"user-agent") or b""
        self._token = next((token for name in h.TOKEN_HEADERS if (token := h.bearer(h.get(headers, name) or b""))), "")
        self._given: access.Pass | None = None
        self._known: tuple[int | None, Functions] | None = None
        self._faults = 0
        self._news = asyncio.Event()
        origin, host = h.get(headers, b"origin"), h.get(headers, b"host") or b""
        if origin is not None and not is_web_origin(origin):
            await self.close()
            return
        self._is_own = origin == f"{settings.PORTICO_SCHEME}://".encode() + host
        await self.accept()
        if self._gateway.limits.enter(self._address):
            await self._shut("too_many_requests", pages.too_many_requests(1).message, TOO_MANY)
            return
        self._counted = True
        self._writer = asyncio.create_task(self._write())
        self._stay()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if not self._counted:
            return
        self._stay()
        names: dict[str, str] = {}
        try:
            if text_data is None:
                raise Refused("bad_message", "Messages are JSON, as text.")
            message = read(text_data)
            names = message.names()
            match message:
                case Start():
                    await self._start(message)
                case Cancel():
                    await self._cancel(message)
                case Resume():
                    await self._resume(message)
                case Authorize():
                    await self._authorize(message)
        except Shut as shut:
            await self._shut(shut.code, str(shut), shut.close)
        except Refused as refused:
            await self._refuse(refused, names)
        except DatabaseError as error:
            log.error("the websocket of runs cannot answer", error=repr(error))
            await self._refuse(Refused("unavailable", pages.unavailable().message), names)

    async def _refuse(self, refused: Refused, names: dict[str, str]) -> None:
        """Args:
        names: of the run that it is about.
        """
        await self.send(json.dumps({"type": "error", "code": refused.code, "message": str(refused), **names}))
        self._faults += 1
        if self._faults >= MAX_FAULTS:
            await self._shut("too_many_requests", "Too many of these messages were without effect.", BAD_MESSAGES)

    async def _shut(self, code: str, why: str, close: int) -> None:
        await self.send(json.dumps({"type": "error", "code": code, "message": why}))
        await self.close(close, why[:100])

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._look_whether_idle)

    def _look_whether_idle(self) -> None:
        if self._runs or self._elsewhere:
            self._stay()
        else:
            self._closing = asyncio.create_task(self.close(IDLE, "Nothing was said for a while."))

    async def _caller(self) -> Caller:
        """Who asks, and for what, as it is now.

        Raises:
            Shut: there is nothing here for them.
            Refused: they must say first what lets them in.
        """
        route = await self._gateway.routes.find(("slug", self._slug))
        given, token = self._given, ""
        user_id = given.user_id if given else None
        if self._token and (found := await self._gateway.rights.token(self._token)).user_id is not None:
            user_id, token, given = found.user_id, self._token, None
        elif given is None and route is not None and (route.closed or route.tells_username) and self._is_own:
            person = await person_now(self.scope)
            if isinstance(person, User):
                user_id, given = person.pk, access.for_user(route.space_id, person)
        if route is None or not await self._gateway.rights.may_see(route, user_id, given.session if given else ""):
            if route is not None and route.lock:
                raise Refused("password_required", pages.password_required("/").message)
            raise Shut("not_found", pages.not_found(None).message, NOT_FOUND)
        self._look_at(route)
        return Caller(route, self._address, user_id, self._agent, token, given)

    def _look_at(self, route: Route) -> None:
        if route.withheld:
            raise Shut("withheld", pages.withheld().message, WITHHELD)
        if route.sdk != SDK.GRADIO:
            raise Shut("not_gradio", "Only Gradio Spaces can be run over a websocket.", UNSUITABLE)
        page = pages.for_stage(route.stage, route.slug, route.stage_message)
        if not page.waits:
            raise Shut(page.code, f"{page.title}. {page.message}", NOT_RUNNING)

    async def _start(self, message: Start) -> None:
        caller = await self._caller()
        mine = [run for run, _ in self._runs.values()]
        if len(mine) + len(self._elsewhere) >= MAX_AT_ONCE:
            raise TOO_MANY_RUNS
        if message.id is not None and any(run.label == message.id for run in mine):
            raise Refused("bad_message", "id: another run on this socket is called so.")
        deployment = caller.route.deployment_id
        known = self._known[1] if self._known and self._known[0] == deployment else None

        def learnt(found: Functions) -> None:
            self._known = deployment, found

        await relays.listen()
        run = Run(runs.new_id(), caller, message.endpoint, message.data, label=message.id, known=known, learnt=learnt)
        runs.add(run)
        self._follow(run, 0)
        run.begin()

    async def _cancel(self, message: Cancel) -> None:
        caller = await self._caller()
        if message.run is not None:
            if message.run in self._elsewhere:
                await relays.say("run.unwanted", message.run, self.channel_name, who=caller.who)
                return
            run = runs.find(message.run, caller.who)
        else:
            run = next((run for run, _ in self._runs.values() if message.id and run.label == message.id), None)
        if run is None:
            raise NO_SUCH_RUN
        run.give_up()

    async def _resume(self, message: Resume) -> None:
        caller = await self._caller()
        known = {*self._runs, *self._elsewhere}
        if len(known) >= MAX_AT_ONCE and message.run not in known:
            raise TOO_MANY_RUNS
        run = runs.find(message.run, caller.who)
        if run is not None:
            self._follow(run, message.event_id)
            self._news.set()
        elif runs.is_elsewhere(message.run):
            given_up = asyncio.create_task(self._miss(message))
            self._elsewhere[message.run] = given_up
            await relays.want(message.run, self.channel_name, caller, message.event_id)
        else:
            raise NO_SUCH_RUN

    async def _miss(self, message: Resume) -> None:
        """Say that a run is nowhere, unless its process answers meanwhile."""
        await asyncio.sleep(ANSWER_SECONDS)
        self._elsewhere.pop(message.run, None)
        with suppress(OSError):
            await self._refuse(NO_SUCH_RUN, message.names())

    async def run_here(self, event: dict[str, Any]) -> None:
        """Another process has a run that was asked for."""
        if miss := self._elsewhere.get(event["run"]):
            miss.cancel()

    async def run_told(self, event: dict[str, Any]) -> None:
        """What such a run tells."""
        if event["run"] in self._elsewhere:
            if event["ends"]:
                del self._elsewhere[event["run"]]
            await self.send(event["text"])
            await relays.say("run.heard", event["run"], self.channel_name)

    async def _authorize(self, message: Authorize) -> None:
        self._faults += 1  # whoever guesses is shut out soon
        route = await self._gateway.routes.find(("slug", self._slug))
        if message.token:
            if (await self._gateway.rights.token(message.token)).user_id is None:
                raise Refused("bad_token", "This token is unknown.")
            self._token = message.token
        elif message.password:
            if route is None or not route.lock:
                raise Shut("not_found", pages.not_found(None).message, NOT_FOUND)
            try:
                await self._gateway.passwords.check(route, self._address, message.password)
            except passwords.Refused as refused:
                raise Refused("password_required", str(refused)) from None
            self._given = access.Pass(route.space_id, None, access.for_lock(route.lock))
        elif message.link:
            found = await access.redeem(message.link, route.space_id) if route is not None else None
            if found is None:
                raise Shut("not_found", pages.not_found(None).message, NOT_FOUND)
            self._given = found[0]
        else:
            raise Refused("bad_message", "Send a token, a password or a link.")
        await self._caller()
        await self.send(json.dumps({"type": "authorized"}))

    def _follow(self, run: Run, after: int) -> None:
        self._runs[run.id] = run, after
        run.follow(self._on_news)

    def _on_news(self) -> None:
        self._news.set()

    async def _write(self) -> None:
        """Send what runs tell, an event of each in turn. While the caller does not read it waits here, and what is
        overtaken meanwhile is never sent."""
        with suppress(OSError):  # the caller has gone
            while True:
                await self._news.wait()
                self._news.clear()
                for run, sent in list(self._runs.values()):
                    await self._write_next(run, sent)

    async def _write_next(self, run: Run, sent: int) -> None:
        news = run.after(sent)
        if not run.is_followed_by(self._on_news):
            del self._runs[run.id]  # by another socket now
            return
        if news:
            await self.send(news[0].text)
            self._runs[run.id] = run, news[0].number
            self._news.set()
        if news[0].ends if news else run.ended:
            del self._runs[run.id]
            self._stay()
            if run.failed:
                await self._look_again()

    async def _look_again(self) -> None:
        """A run has failed; perhaps because there is nothing for this caller here any more."""
        try:
            await self._caller()
        except Shut as shut:
            await self._shut(shut.code, str(shut), shut.close)
        except Refused:
            pass
