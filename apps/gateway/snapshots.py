"""A Space's page drawn before its worker is awake.

`apps.gateway.takes` keeps the answers of a deployment that do not depend on who asks: its pages, `/config`, the
description of its API. While the worker is not known to answer, visitors get these at once, and the worker is woken in
the same instant; whatever the page asks next waits for it. Where an answer tells its own address, the one that the
visitor asked comes in its place.
"""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from django.utils import timezone

from apps.gateway import headers as h
from apps.gateway.answers import Answer, HostAnswer
from apps.gateway.assets import compress
from apps.gateway.models import Snapshot
from apps.gateway.recent import Recent
from apps.gateway.requests import SAFE_METHODS, Request
from apps.gateway.routes import Route
from apps.runtime.database import in_database
from apps.spaces.models import SDK, Space, Stage

log = structlog.get_logger(__name__)

CONFIG, INFO = "/config", "/gradio_api/info"
BROKEN = (zlib.error, ValueError, KeyError, TypeError, AttributeError)
"""What content raises that is not as `pack` made it."""
STAGES = frozenset({Stage.SLEEPING, Stage.APP_STARTING, Stage.RUNNING})
"""Those in which a visit starts the worker."""
PARAMETERS = re.compile(rb"(__theme=(light|dark|system)|__lang=[a-z-]{2,10})?")
"""Of a page's address: read by its script alone."""
VERSION = re.compile(rb"(v=[0-9a-f]{1,64})?")
HOST = re.compile(r"[a-z0-9.-]+(:\d+)?")
MAX_CONTENT_BYTES, MAX_BODY_BYTES = 48 * 1024**2, 48 * 1024**2
"""For snapshots as they were taken, and for answers as they were drawn."""
ON_THE_LOOP_BYTES = 64 * 1024
"""Up to this size an answer is compressed at once; a larger one in a thread."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One answer, as it was taken."""

    headers: h.Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Content:
    """What one snapshot holds.

    Attributes:
        host: under which they were taken, in whose place the visitor's own comes.
        answers: by path.
        taken_at: when.
    """

    host: str
    answers: Mapping[str, Kept]
    taken_at: datetime

    @property
    def size(self) -> int:
        """Bytes of its answers."""
        return sum(len(kept.body) for kept in self.answers.values())


def pack(host: str, answers: Mapping[str, Kept]) -> bytes:
    """As `Snapshot.content` has it."""
    said = {
        "host": host,
        "answers": {
            path: [[[_text(k), _text(v)] for k, v in kept.headers], _text(kept.body)] for path, kept in answers.items()
        },
    }
    return zlib.compress(json.dumps(said, ensure_ascii=False).encode())


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _unpack(content: bytes, taken_at: datetime) -> Content:
    said: dict[str, Any] = json.loads(zlib.decompress(content))
    answers = {
        path: Kept([(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers], body.encode("latin-1"))
        for path, (headers, body) in said["answers"].items()
    }
    return Content(said["host"], answers, taken_at)


@in_database
def _read(deployment_id: int, digest: str) -> Content | None:
    found = Snapshot.objects.filter(deployment=deployment_id, digest=digest).first()
    if found is None:
        return None
    try:
        return _unpack(bytes(found.content), found.taken_at)
    except BROKEN as error:
        log.error("a snapshot cannot be read", deployment=deployment_id, error=repr(error))
        return None


@dataclass(frozen=True, slots=True)
class Described:
    """What a snapshot knows of a Space's API.

    Attributes:
        info: the app's `/gradio_api/info`; None where there is none.
        config: its `/config`, likewise.
        taken_at: when it was asked; None when it never was.
        refusal: why there is no snapshot, for people who may read it.
    """

    info: dict[str, Any] | None
    config: dict[str, Any] | None
    taken_at: datetime | None
    refusal: str


def described(space: Space) -> Described:
    """What the Space's app says of its API, awake or not, with the Space's own host as its address."""
    found = Snapshot.objects.filter(deployment__space=space, deployment__is_current=True).first()
    if found is None or not found.digest:
        return Described(None, None, found.taken_at if found else None, found.refusal if found else "")
    try:
        content = _unpack(bytes(found.content), found.taken_at)
    except BROKEN:
        return Described(None, None, found.taken_at, "")
    info, config = (_object(content, path, space.host) for path in (INFO, CONFIG))
    return Described(info, config, found.taken_at, "")


def _object(content: Content, path: str, host: str) -> dict[str, Any] | None:
    kept = content.answers.get(path)
    if kept is None:
        return None
    try:
        said = json.loads(kept.body.replace(content.host.encode(), host.encode()))
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


@dataclass(frozen=True, slots=True)
class Drawn:
    """An answer of a snapshot, for one request."""

    headers: h.Headers
    body: bytes


class Snapshots:
    """The snapshots that one event loop's gateway has drawn from, the latest last."""

    def __init__(self) -> None:
        self._contents = Recent[str, Content](MAX_CONTENT_BYTES, lambda content: content.size)
        self._bodies = Recent[tuple[str, str, str, bytes], bytes](MAX_BODY_BYTES, len)

    async def find(self, request: Request, route: Route, answer: Answer) -> Drawn | None:
        """The answer to draw, or None where the worker is to be asked."""
        if not route.snapshot or route.stage not in STAGES or not _is_anybodys(request):
            return None
        content = self._contents.get(route.snapshot)
        if content is None:
            assert route.deployment_id is not None
            content = await _read(route.deployment_id, route.snapshot)
            if content is None:  # replaced since the route was read
                return None
            self._contents.put(route.snapshot, content)
        path = request.path.decode("ascii")
        kept = content.answers.get(path)
        if kept is None or not _takes_query(path, request.query):
            return None
        is_framed = isinstance(answer, HostAnswer) and answer.framed_page
        coding = b"" if is_framed else h.best_coding(request.first.get(b"accept-encoding", b""))
        age = max(0, int((timezone.now() - content.taken_at).total_seconds()))
        key = (route.snapshot, path, request.host + request.prefix, coding)
        body = self._bodies.get(key)
        if body is None:
            body = await _body(kept.body.replace(content.host.encode(), key[2].encode()), coding)
            self._bodies.put(key, body)
        headers = [*kept.headers, (b"age", str(age).encode()), (b"vary", b"Accept-Encoding")]
        if coding:
            headers.append((b"content-encoding", coding))
        return Drawn(headers, body)


async def _body(body: bytes, coding: bytes) -> bytes:
    if not coding:
        return body
    if len(body) <= ON_THE_LOOP_BYTES:
        return compress(body, coding)
    return await asyncio.to_thread(compress, body, coding)


def _is_anybodys(request: Request) -> bool:
    """Whether nothing in the request says who asks, or that a part is wanted."""
    if request.method not in SAFE_METHODS or not HOST.fullmatch(request.host):
        return False
    if request.username or b"authorization" in request.first or b"range" in request.first:
        return False
    return not any(name == b"cookie" and h.without_cookies(value) for name, value in request.headers)


def _takes_query(path: str, query: bytes) -> bool:
    if not query:
        return True
    return (VERSION if path.endswith(".css") else PARAMETERS).fullmatch(query) is not None


def has_snapshots(sdk: str) -> bool:
    """Whether this kind of app has pages that can be drawn ahead: the others decide who asks over a websocket, or
    answer as they like."""
    return sdk == SDK.GRADIO
