"""Taking a snapshot: ask a worker that has just become ready what anybody would be answered.

Each address is asked twice, as two strangers who share nothing: other hosts, addresses, browsers and languages, a
moment apart. (The first one's host is the Space's own: Gradio remembers who asked first for the description of its
API, and names that host to everybody.) What is the same for both is kept. A page that sets a cookie, asks for a login,
says that it varies or that it must not be stored, or differs between the two, is not drawn, and its owner is told why.
So is one whose parts are others than when the deployment was started before: a page that was drawn could not talk to
the worker that comes.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import structlog
from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from apps.builds.models import Deployment
from apps.gateway import assets
from apps.gateway import headers as h
from apps.gateway.models import Snapshot
from apps.gateway.routes import inputs_of
from apps.gateway.snapshots import CONFIG, INFO, THEME, Kept, has_snapshots, pack
from apps.gateway.upstream import UpstreamError
from apps.gateway.workers import NoSocket, Pool
from apps.runtime import client as runtime
from apps.runtime.database import in_database
from apps.runtime.models import Worker
from apps.spaces.drawn import DrawnFacts
from apps.spaces.events import route_changed
from apps.spaces.models import Space

log = structlog.get_logger(__name__)

PAGE = "/"
ALSO = (INFO, THEME, "/manifest.json", "/favicon.ico")
"""Kept where they are the same for both; the page is drawn without them otherwise."""
MAX_PAGES = 20
PAGE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
MAX_ANSWER_BYTES = 4 * 1024**2
MAX_BYTES = 8 * 1024**2
ANSWER_SECONDS = 20.0
TAKE_SECONDS = 120.0
CLAIM_SECONDS = 600
"""For so long one worker's page is taken by one web process only."""
AT_ONCE = 2
BETWEEN_SECONDS = 1.1
"""A page that shows the time differs by then."""
STARTS = 2
"""At how many starts a page is taken at once, to see whether it is the same."""
OTHER_PARTS = "it is made of other parts at each start"
SETTLE_SECONDS = 1.0
"""Left to whoever woke the Space before it is asked by us."""
REFRESH_SECONDS = 3600
"""How old a snapshot may be when its Space is started again and it is not taken anew."""
KEPT_HEADERS = frozenset({b"cache-control", b"content-language", b"content-type"})
HARMLESS_VARY = frozenset({b"accept-encoding", b"origin", b""})
ASSET = re.compile(rb'(?:src|href)="\./(assets/[A-Za-z0-9._-]+)"')
LOGIN_COMPONENTS = frozenset({"loginbutton", "logoutbutton"})

STRANGERS: tuple[h.Headers, ...] = (
    [
        (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0"),
        (b"Accept-Language", b"en-US,en;q=0.9"),
        (b"X-Forwarded-For", b"192.0.2.17"),
    ],
    [
        (b"User-Agent", b"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"),
        (b"Accept-Language", b"de-DE,de;q=0.9,fr;q=0.5"),
        (b"X-Forwarded-For", b"2001:db8::42"),
        (b"DNT", b"1"),
    ],
)
"""What two visitors say of themselves; their addresses are those of documentation (RFC 5737, RFC 3849)."""


class Refused(Exception):
    """The page is not to be drawn ahead; the text says why, to its owner."""


@dataclass(frozen=True)
class Answered:
    """What a worker answered to one stranger."""

    status: int
    headers: h.Headers
    body: bytes


@dataclass(frozen=True)
class Taken:
    """What came of it.

    Attributes:
        answers: by path; empty when the page is not to be drawn.
        host: see `snapshots.Content`.
        shape: see `Snapshot`.
        refusal: why there are no answers.
        has_plain_assets: see `Snapshot`.
    """

    answers: Mapping[str, Kept]
    host: str
    shape: str
    refusal: str
    has_plain_assets: bool


class Stranger:
    """One of the two who ask.

    Args:
        pool: the worker.
        headers: what they say of themselves.
        host: under which they ask.
    """

    def __init__(self, pool: Pool, headers: h.Headers, host: str) -> None:
        self._pool, self._headers, self.host = pool, headers, host
        self._bytes = 0

    async def ask(self, path: str) -> Answered:
        """Raises: UpstreamError, NoSocket: the worker did not answer. Refused: too much."""
        lines = [
            (b"Host", self.host.encode()),
            (b"Accept", b"*/*"),
            (b"Accept-Encoding", b"identity"),
            *self._headers,
            (b"X-Forwarded-Proto", settings.PORTICO_SCHEME.encode()),
            (b"X-Forwarded-Host", self.host.encode()),
        ]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in lines)
        connection = await self._pool.connection(sure=False)
        try:
            connection.begin("GET", f"GET {path} HTTP/1.1\r\n".encode() + head + b"\r\n")
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.head()
                body = b""
                while chunk := await connection.chunk():
                    body += chunk
                    self._bytes += len(chunk)
                    if len(body) > MAX_ANSWER_BYTES:
                        raise Refused(f"{path} has more than {MAX_ANSWER_BYTES // 1024**2} MiB")
                    if self._bytes > MAX_BYTES:
                        raise Refused(f"its answers have more than {MAX_BYTES // 1024**2} MiB")
            headers = [(name.lower(), value) for name, value in connection.headers]
            return Answered(connection.status, headers, body)
        finally:
            self._pool.put_back(connection)


async def take(pool: Pool, environment: str, host: str) -> Taken:
    """Ask a worker of a Gradio app.

    Args:
        pool: the worker.
        environment: key of its Environment.
        host: the Space's own, with its port.

    Raises:
        UpstreamError, NoSocket, TimeoutError: the worker did not answer; nothing is known.
    """
    hosts = (host, f"s{secrets.token_hex(12)}.invalid")
    first, second = (Stranger(pool, *both) for both in zip(STRANGERS, hosts, strict=True))
    before: dict[str, Answered] = {}
    try:
        before[CONFIG] = await first.ask(CONFIG)
        config = _config(before[CONFIG])
        before[PAGE] = await first.ask(PAGE)
        paths = [PAGE, CONFIG, *_pages(config)]
        for path in (*paths[2:], *ALSO):
            before[path] = await first.ask(path)
        await asyncio.sleep(BETWEEN_SECONDS)
        after = {path: await second.ask(path) for path in (*paths, *ALSO)}
        answers: dict[str, Kept] = {}
        for path in (*paths, *ALSO):
            try:
                answers[path] = _same(path, before[path], after[path], first, second)
            except Refused:
                if path in paths:
                    raise
    except Refused as refused:
        return Taken({}, "", "", str(refused), await _has_plain_assets(first, before.get(PAGE), environment))
    plain = await _has_plain_assets(first, before[PAGE], environment)
    return Taken(answers, first.host, shape(config), "", plain)


def _config(answered: Answered) -> dict[str, Any]:
    """Raises: Refused: no page of Gradio's is at the root, or it asks for a login."""
    if answered.status in (401, 403):
        raise Refused("it asks for a login")
    try:
        config = json.loads(answered.body)
    except ValueError:
        config = None
    if answered.status != 200 or not isinstance(config, dict) or not isinstance(config.get("components"), list):
        raise Refused("there is no Gradio page at the root of its address")
    types = {str(c.get("type")) for c in config["components"] if isinstance(c, dict)}
    if config.get("auth_required") or config.get("username") is not None or types & LOGIN_COMPONENTS:
        raise Refused("it asks for a login")
    return config


def _pages(config: Mapping[str, Any]) -> list[str]:
    """Further pages of a multipage app."""
    named = [page[0] for page in config.get("pages") or [] if isinstance(page, list) and page]
    return [f"/{name}" for name in named if isinstance(name, str) and PAGE_NAME.fullmatch(name)][:MAX_PAGES]


def _same(path: str, one: Answered, other: Answered, first: Stranger, second: Stranger) -> Kept:
    """What both were answered, under the first one's host.

    Raises:
        Refused: it depends on who asks, or says that it might.
    """
    where = "its page" if path == PAGE else path
    for answered in (one, other):
        if answered.status != 200:
            raise Refused(f"{where} answers {answered.status}")
        said = dict(answered.headers)
        if b"set-cookie" in said:
            raise Refused(f"{where} sets a cookie")
        vary = {name.strip().lower() for k, v in answered.headers if k == b"vary" for name in v.split(b",")}
        if vary - HARMLESS_VARY:
            raise Refused(f"{where} varies by {b', '.join(sorted(vary - HARMLESS_VARY)).decode('latin-1')[:100]}")
        if said.get(b"content-encoding", b"identity") != b"identity":
            raise Refused(f"{where} is compressed for those who did not ask for that")
        if {d.strip().lower() for d in said.get(b"cache-control", b"").split(b",")} & {b"private", b"no-store"}:
            raise Refused(f"{where} says that it must not be stored")
    if _comparable(one) != _comparable(other, second.host.encode(), first.host.encode()):
        raise Refused(f"{where} differs from visitor to visitor, or from moment to moment")
    try:
        headers = [(k, v) for k, v in h.from_upstream(one.headers) if k in KEPT_HEADERS]
    except h.BadHeaders as error:
        raise Refused(f"{where} has headers that cannot be passed on: {error}") from None
    if h.get(headers, b"cache-control") is None:
        headers.append((b"cache-control", b"no-cache"))
    return Kept(headers, one.body)


def _comparable(answered: Answered, host: bytes = b"", instead: bytes = b"") -> tuple[h.Headers, bytes]:
    headers = [(k, v) for k, v in answered.headers if k in KEPT_HEADERS]
    return headers, answered.body.replace(host, instead) if host else answered.body


def shape(config: Mapping[str, Any]) -> str:
    """Digest of what an open page and a worker must have in common: which parts there are, and what calls what."""
    parts = [[c.get("id"), c.get("type")] for c in config["components"] if isinstance(c, dict)]
    calls = [
        [d.get(key) for key in ("id", "targets", "inputs", "outputs", "api_name")]
        for d in config.get("dependencies") or []
        if isinstance(d, dict)
    ]
    return sha256(json.dumps([config.get("version"), parts, calls], sort_keys=True, default=str).encode()).hexdigest()


async def _has_plain_assets(stranger: Stranger, page: Answered | None, environment: str) -> bool:
    """Whether Gradio's own files answer where `assets` would answer for them: one is asked for, and one that none is.

    An app that has put itself in their place, or Gradio elsewhere, answers something else.
    """
    try:
        page = page or await stranger.ask(PAGE)
        named = ASSET.search(page.body)
        parts = assets.parts_of(b"/" + named[1]) if named else None
        known = await asyncio.to_thread(assets.read, environment, parts) if named and parts else None
        if named is None or known is None:
            return False
        answered = await stranger.ask(f"/{named[1].decode()}")
        nothing = await stranger.ask(f"/static/{secrets.token_hex(8)}.js")
        return answered.body == known.body and nothing.status in (403, 404)
    except Refused:
        return False


@dataclass(frozen=True)
class Due:
    """A worker whose page is to be taken."""

    worker: runtime.RunningWorker
    deployment_id: int
    environment: str
    host: str
    inputs: str


@in_database
def _due(space_id: int) -> Due | None:
    """None where nothing is to be taken, or nobody answers any more."""
    space = Space.objects.select_related("owner").filter(pk=space_id).first()
    if space is None or space.is_withheld:
        return None
    ready = Worker.objects.filter(space=space, state=Worker.State.READY, deployment__is_current=True)
    row = ready.select_related("deployment").first()
    if row is None or not has_snapshots(row.deployment.sdk) or not row.deployment.environment_id:
        return None
    # What it was started with: a variable that was changed since is not in its page.
    if Space.objects.filter(pk=space_id, variables__updated_at__gt=row.started_at).exists():
        return None
    worker = runtime.RunningWorker(row.pk, row.port, row.node_id, row.deployment_id)
    return Due(worker, row.deployment_id, row.deployment.environment_id, space.host, inputs_of(space))


async def take_of(space_id: int) -> bool:
    """Take the page of a Space whose worker is ready, and keep it. False when nothing came of it: its worker is gone,
    does not answer, or another process of the portal has taken its page."""
    due = await _due(space_id)
    if due is None or not await cache.aadd(f"snapshot-of-worker:{due.worker.id}", True, CLAIM_SECONDS):
        return False
    pool = Pool(due.worker)
    try:
        async with asyncio.timeout(TAKE_SECONDS):
            taken = await take(pool, due.environment, due.host)
    except (UpstreamError, NoSocket, TimeoutError, runtime.AgentUnavailable) as error:
        log.info("no snapshot was taken", space=space_id, error=repr(error))
        return False
    finally:
        await pool.close()
    return await keep(space_id, due.deployment_id, due.inputs, taken)


class Taker:
    """Takes the pages that are due, beside what an event loop serves: a few at a time, since an app may be slow."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def due(self, space_id: int) -> None:
        """Begin to, in a moment."""
        if space_id not in self._tasks:
            task = self._tasks[space_id] = asyncio.create_task(self._take(space_id))
            task.add_done_callback(lambda _: self._tasks.pop(space_id, None))

    async def _take(self, space_id: int) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
        async with self._slots:
            try:
                await take_of(space_id)
            except Exception:
                log.exception("a snapshot could not be taken", space=space_id)

    async def close(self) -> None:
        """End what is under way; the next start of the Space makes good for it."""
        running = list(self._tasks.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def is_due(space: Space) -> bool:
    """Whether the page of a Space whose worker has become ready is to be taken: it never was, what it depends on has
    changed, or it is some time ago."""
    deployment = Deployment.objects.filter(space=space, is_current=True).first()
    if deployment is None or not has_snapshots(deployment.sdk):
        return False
    known = Snapshot.objects.filter(deployment=deployment).defer("content").first()
    if known is None or known.inputs != inputs_of(space):
        return True
    is_old = (timezone.now() - known.taken_at).total_seconds() > REFRESH_SECONDS
    return is_old or (bool(known.digest) and known.starts < STARTS)


@in_database
def keep(space_id: int, deployment_id: int, depends_on: str, taken: Taken) -> bool:
    """Put what was taken in the place of what was there. False when the deployment is not the current one any more."""
    if not Deployment.objects.filter(pk=deployment_id, space=space_id, is_current=True).exists():
        return False
    content = pack(taken.host, taken.answers) if taken.answers else b""
    refusal, starts = taken.refusal, 1
    preloads: dict[str, list[str]] = {}
    before = Snapshot.objects.filter(deployment=deployment_id, inputs=depends_on).defer("content").first()
    if before is not None:
        starts = min(before.starts + 1, STARTS)
        preloads = before.preloads
        if taken.answers and (before.refusal == OTHER_PARTS or (before.shape and before.shape != taken.shape)):
            refusal = OTHER_PARTS
    Snapshot.objects.update_or_create(
        deployment_id=deployment_id,
        defaults={
            "inputs": depends_on,
            "content": b"" if refusal else content,
            "digest": "" if refusal else sha256(content).hexdigest(),
            "shape": taken.shape,
            "refusal": refusal,
            "has_plain_assets": taken.has_plain_assets,
            "preloads": preloads,
            "starts": starts,
            "taken_at": timezone.now(),
        },
    )
    route_changed(space_id)
    return True


def drawn_facts(space: Space) -> DrawnFacts:
    """What is known of the snapshot of the Space's current deployment."""
    known = Snapshot.objects.filter(deployment__space=space, deployment__is_current=True).defer("content").first()
    return DrawnFacts() if known is None else DrawnFacts(known.taken_at, known.refusal)
