"""What the web process takes in at most, whichever server it is."""

from __future__ import annotations

import asyncio
import errno
import json
from typing import Any

import structlog
from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
from django.conf import settings
from django.template.loader import render_to_string

from apps.gateway import headers as h
from apps.gateway.requests import is_for_gateway, is_space_host

log = structlog.get_logger(__name__)

MAX_HEADER_BYTES = 48 * 1024
MAX_HEADERS = h.MAX_COUNT
MULTIPART_BYTES = 64 * 1024
"""What a form's own framing may add to the file in it."""
LINGER_SECONDS = 5.0
"""How long a refused client may go on sending, so that it reads the refusal instead of a reset connection."""
MAX_WEBSOCKET_BYTES = 16 * 1024**2
BACKLOG = 1024
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
PHRASES = {413: b"413 Content Too Large", 507: b"507 Insufficient Storage"}


def body_limit(host: str, path: str) -> int:
    """How many bytes a request to this address may carry: a file's worth where files go, else a form's."""
    takes_files = is_space_host(host) or path.startswith(("/run/", "/api/")) or "/upload" in path
    limit = settings.PORTICO_MAX_FILE_BYTES if takes_files else settings.PORTICO_MAX_FORM_BYTES
    return int(limit) + MULTIPART_BYTES


def is_of_pages(host: str, path: str) -> bool:
    """Whether a person who asks here gets the portal's pages: not on a Space's host, nor where only data is."""
    return not is_space_host(host) and not path.startswith(("/run/", "/api/"))


def refusal(status: int, limit: int, *, wants_page: bool) -> tuple[bytes, bytes]:
    """Type and body of the answer to a request that is too large (413), or that the disk has no room for (507)."""
    if status == 507:
        code, message = "disk_full", "The portal's disk is full."
    else:
        code, message = "too_large", f"A request here may carry at most {limit:,} bytes."
    if wants_page and status == 413:
        return b"text/html; charset=utf-8", render_to_string("413.html", {"message": message}).encode()
    return b"application/json", json.dumps({"error": code, "message": message}).encode()


def say_where_from(scope: Any) -> None:
    """Put the visitor's own address and scheme in the scope when a trusted proxy says them; else drop what
    pretends to."""
    peer = str(scope["client"][0]) if scope.get("client") else ""
    headers = scope["headers"]
    if h.is_trusted_proxy(peer):
        scope["client"] = (h.client_address(peer, headers), 0)
        if h.get(headers, b"x-forwarded-proto") == b"https":
            scope["scheme"] = "https" if scope["type"] == "http" else "wss"
        return
    scope["headers"] = [(k, v) for k, v in headers if not k.startswith(b"x-forwarded-") and k != b"forwarded"]


def spool_folder() -> str:
    """Where bodies are kept while they arrive: on the data folder's disk, not in /tmp, which may be memory."""
    folder = settings.PORTICO_DATA / "spool"
    folder.mkdir(exist_ok=True, mode=0o700)
    return str(folder)


class _TooLarge(Exception):
    pass


class Bounded:
    """`application` for servers that bound nothing themselves: says where a request came from, and refuses a body over
    the limit of its path while it arrives. The gateway bounds its own, which it streams."""

    def __init__(self, application: ASGI3Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        say_where_from(scope)
        if scope["type"] == "websocket" or is_for_gateway(scope):
            await self._application(scope, receive, send)
        else:
            await self._bounded(scope, receive, send)

    async def _bounded(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        host = (h.get(scope["headers"], b"host") or b"").decode("latin-1").strip().lower()
        limit = body_limit(host, scope["path"])
        received, answered = 0, False

        async def receive_bounded() -> Any:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise _TooLarge
            return message

        async def send_noticed(message: Any) -> None:
            nonlocal answered
            answered = True
            await send(message)
            await asyncio.sleep(
                0
            )  # once nobody listens `send` returns at once, and a long answer would hold up everybody

        try:
            declared = h.get(scope["headers"], b"content-length") or b"0"
            if not declared.isdigit() or int(declared) > limit:
                raise _TooLarge
            await self._application(scope, receive_bounded, send_noticed)
            return
        except _TooLarge:
            status = 413
        except OSError as error:
            if error.errno not in FULL:
                raise
            log.error("cannot spool a request", error=str(error))
            status = 507
        if answered:
            raise RuntimeError("a body grew beyond its limit after its answer had begun")
        wants_page = is_of_pages(host, scope["path"]) and b"text/html" in (h.get(scope["headers"], b"accept") or b"")
        kind, body = refusal(status, limit, wants_page=wants_page)
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
        await send({"type": "http.response.body", "body": body, "more_body": False})
