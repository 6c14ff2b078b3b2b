"""A Space's page drawn before its worker is awake.

`apps.gateway.takes` keeps the answers of a deployment that do not depend on who asks: its pages, `/config`, the
description of its API. While the worker is not known to answer, visitors get these at once, and the worker is woken in
the same instant; whatever the page asks next waits for it. Where an answer tells its own address, the one that the
visitor asked comes in its place.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

import structlog
from django.db.utils import Error as DatabaseError
from django.utils import timezone

from apps.gateway import headers as h
from apps.gateway.answers import Answer, HostAnswer
from apps.gateway.assets import cache_control
from apps.gateway.codings import compressed
from apps.gateway.models import Snapshot
from apps.gateway.recent import Recent
from apps.gateway.requests import SAFE_METHODS, Request
from apps.gateway.routes import Route
from apps.runtime.database import in_database
from apps.spaces.models import SDK, Space, Stage

log = structlog.get_logger(__name__)

CONFIG, INFO, THEME = "/config", "/gradio_api/info", "/theme.css"
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
        shape: see `Snapshot`.
        preloads: likewise.
        theme: SHA-256 of the theme's style sheet, hexadecimal, by which Gradio's pages ask for it; empty for none.
    """

    host: str
    answers: Mapping[str, Kept]
    taken_at: datetime
    shape: str = ""
    preloads: Mapping[str, list[str]] = field(default_factory=dict)
    theme: str = ""

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
    theme = sha256(answers[THEME].body).hexdigest() if THEME in answers else ""
    return Content(said["host"], answers, taken_at, theme=theme)


@in_database
def _read(deployment_id: int, digest: str) -> Content | None:
    found = Snapshot.objects.filter(deployment=deployment_id, digest=digest).first()
    if found is None:
        return None
    try:
        return replace(_unpack(bytes(found.content), found.taken_at), shape=found.shape, preloads=found.preloads)
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
class Drawable:
    """What a snapshot has for one request.

    Attributes:
        digest: of the snapshot.
        content: all of it.
        path: what is asked for.
        is_named: whether the address says which content is wanted, so that it is true whatever the worker does.
    """

    digest: str
    content: Content
    path: str
    is_named: bool

    @property
    def kept(self) -> Kept:
        return self.content.answers[self.path]


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

    async def find(self, request: Request, route: Route) -> Drawable | None:
        """What is known of the answer; None where it may depend on who asks, or on anything else."""
        if not route.snapshot or route.stage not in STAGES or request.method not in SAFE_METHODS:
            return None
        content = self._contents.get(route.snapshot)
        if content is None:
            assert route.deployment_id is not None
            try:
                content = await _read(route.deployment_id, route.snapshot)
            except DatabaseError as error:
                log.warning("no snapshot can be read", error=repr(error))
            if content is None:  # or replaced since the route was read
                return None
            self._contents.put(route.snapshot, content)
        path = request.path.decode("ascii")
        if path not in content.answers or not _takes_query(path, request.query) or not _is_anybodys(request):
            return None
        is_named = path == THEME and request.query == b"v=" + content.theme.encode()
        return Drawable(route.snapshot, content, path, is_named)

    async def draw(self, found: Drawable, request: Request, route: Route, answer: Answer) -> Drawn:
        """The answer itself."""
        kept, content = found.kept, found.content
        coding = coding_for(request, answer)
        age = max(0, int((timezone.now() - content.taken_at).total_seconds()))
        key = (found.digest, found.path, request.host + request.prefix, coding)
        body = self._bodies.get(key)
        if body is None:
            body = await compressed(kept.body.replace(content.host.encode(), key[2].encode()), coding)
            self._bodies.put(key, body)
        headers = [*kept.headers, (b"age", str(age).encode()), (b"vary", b"Accept-Encoding")]
        if found.is_named:
            headers = [(k, v) for k, v in headers if k not in (b"age", b"cache-control")]
            headers.append((b"cache-control", cache_control(route, is_immutable=True)))
        if coding:
            headers.append((b"content-encoding", coding))
        return Drawn(headers, body)


def coding_for(request: Request, answer: Answer) -> bytes:
    """In which coding an answer that is the same for anybody is to be sent; `b""` for none."""
    if isinstance(answer, HostAnswer) and answer.framed_page:  # it is given a script on its way
        return b""
    return h.best_coding(request.first.get(b"accept-encoding", b""))


def _is_anybodys(request: Request) -> bool:
    """Whether nothing in the request says who asks, or that a part is wanted."""
    if request.username or b"authorization" in request.first or b"range" in request.first:
        return False
    if not HOST.fullmatch(request.host):
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
