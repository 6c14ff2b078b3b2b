"""Requests to a Space that the portal makes for somebody who asked it over another way.

They go through the gateway within this process, under the Space's address and with what the visitor may: so waking,
limits, rights, metrics and the logs are the gateway's, as if the visitor had asked there.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import structlog
from asgiref.typing import HTTPScope
from django.conf import settings

from apps.gateway.access import Pass, cookie_value
from apps.gateway.asgi import gateway
from apps.gateway.headers import ACCESS_COOKIE, Headers
from apps.gateway.proxy import BrokenAnswer
from apps.gateway.routes import Route

log = structlog.get_logger(__name__)

MAX_ANSWER_BYTES = 8 * 1024**2
"""Of a whole answer, and of one event of a stream."""
LEAVE_SECONDS = 5.0


class TooMuch(Exception):
    """The app answered more than `MAX_ANSWER_BYTES` at once."""


@dataclass(frozen=True)
class Caller:
    """For whom a Space is asked.

    Attributes:
        route: the Space.
        address: the visitor's network address, which the gateway counts.
        user_id: who it is, None for somebody without an account.
        agent: their `User-Agent`.
        token: their access token; empty for none.
        given: what lets them in without one, as the cookie of the Space's host would say it.
    """

    route: Route
    address: str
    user_id: int | None = None
    agent: bytes = b""
    token: str = ""
    given: Pass | None = None

    @property
    def who(self) -> list[int | str]:
        """What tells this person and this Space from others; without an account, the password or link that let them
        in. It passes the channel layer."""
        nobody = self.given.session if self.given else ""
        return [self.route.space_id, nobody if self.user_id is None else self.user_id]

    @property
    def prefix(self) -> str:
        """The path before that of the app: under the portal's `/run/`, but for a cookie, which counts on the Space's
        own host alone."""
        return "" if self.given else f"/run/{self.route.slug}"

    def scope(self, method: str, path: str, query: str, headers: Headers) -> HTTPScope:
        """The request as a server would hand it to the gateway."""
        host = self.route.host if self.given else settings.PORTICO_URL.partition("://")[2]
        sent: Headers = [(b"host", host.encode()), *headers]
        if self.agent:
            sent.append((b"user-agent", self.agent))
        if self.token:
            sent.append((b"authorization", f"Bearer {self.token}".encode()))
        if self.given:
            sent.append((b"cookie", f"{ACCESS_COOKIE}={cookie_value(self.given)}".encode()))
        whole = f"{self.prefix}{path}"
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": settings.PORTICO_SCHEME,
            "path": whole,
            "raw_path": whole.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": "",
            "headers": sent,
            "client": (self.address, 0),
            "server": None,
            "state": {},
            "extensions": {},
        }


class Asked:
    """One request and its answer, as a context: leaving it ends the request, as a client does that goes away.

    Args:
        caller: for whom.
        method, path, query: what is asked of the app; the path percent-encoded.
        body: pieces of the request's body, and how many bytes they are.
        kind: its media type.

    Attributes:
        status: of the answer, 0 before it has begun.
    """

    def __init__(
        self,
        caller: Caller,
        method: str,
        path: str,
        *,
        query: str = "",
        body: AsyncIterator[bytes] | None = None,
        length: int = 0,
        kind: str = "application/json",
    ) -> None:
        headers: Headers = []
        if body is not None:
            headers = [(b"content-type", kind.encode()), (b"content-length", str(length).encode())]
        self._scope = caller.scope(method, path, query, headers)
        self._body = body
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._left = asyncio.Event()
        self._begun = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.status = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._serve())
        try:
            await self._begun.wait()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._task is not None
        self._left.set()
        _, late = await asyncio.wait({self._task}, timeout=LEAVE_SECONDS)
        for task in late:
            task.cancel()

    async def _serve(self) -> None:
        try:
            await gateway(self._scope, self._receive, self._send)  # type: ignore[arg-type]
        except (BrokenAnswer, asyncio.CancelledError):
            pass  # its end is missed by whoever reads on
        except Exception:
            log.exception("a request within the portal failed")
        finally:
            self._begun.set()
            if not self._left.is_set():
                await self._chunks.put(None)

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            with suppress(StopAsyncIteration):
                return {"type": "http.request", "body": await anext(self._body), "more_body": True}
            self._body = None
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._begun.set()
        elif message.get("body") and not self._left.is_set():
            await self._chunks.put(message["body"])

    async def chunks(self) -> AsyncIterator[bytes]:
        """The answer's body, as it comes."""
        while (chunk := await self._chunks.get()) is not None:
            yield chunk

    async def whole(self) -> bytes:
        """Raises: TooMuch."""
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise TooMuch
        return bytes(body)

    async def events(self) -> AsyncIterator[Any]:
        """The JSON data of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), one
        line each, as Gradio sends them. Those that are none are left out.

        Raises:
            TooMuch: one is too large.
        """
        rest = bytearray()
        async for chunk in self.chunks():
            looked_at = max(0, len(rest) - 1)
            rest += chunk
            while (end := rest.find(b"\n\n", looked_at)) >= 0:
                block, looked_at = bytes(rest[:end]), 0
                del rest[: end + 2]
                said = parsed(block.removeprefix(b"data:")) if block.startswith(b"data:") else None
                if said is not None:
                    yield said
            if len(rest) > MAX_ANSWER_BYTES:
                raise TooMuch


def parsed(data: bytes) -> Any:
    """JSON, or None for what is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def multipart(name: str, file: AsyncIterator[bytes], length: int) -> tuple[str, int, AsyncIterator[bytes]]:
    """A form with one file in it, in the field `files` (https://html.spec.whatwg.org/#multipart-form-data).

    Returns:
        Its media type, how many bytes it has, and these.
    """
    boundary = secrets.token_hex(16)
    for character, instead in (('"', "%22"), ("\r", "%0D"), ("\n", "%0A")):
        name = name.replace(character, instead)
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    end = f"\r\n--{boundary}--\r\n".encode()

    async def pieces() -> AsyncIterator[bytes]:
        yield head
        async for piece in file:
            yield piece
        yield end

    return f"multipart/form-data; boundary={boundary}", len(head) + length + len(end), pieces()


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def ask(caller: Caller, method: str, path: str, said: object = None) -> tuple[int, Any]:
    """Ask the app for JSON, with a JSON body unless `said` is None.

    Returns:
        The status and what was answered; None when that is no JSON, and 0 when there was no answer.

    Raises:
        TooMuch: the answer is too large.
    """
    body = None if said is None else json.dumps(said).encode()
    stream = None if body is None else once(body)
    async with Asked(caller, method, path, body=stream, length=len(body or b"")) as asked:
        return asked.status, parsed(await asked.whole())
