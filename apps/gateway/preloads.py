"""What a browser is going to ask for after a page, said together with the page.

A Gradio page names one script; this one asks for the next, four rounds deep, and each round waits for the network and
for the browser's only thread. Which of Gradio's own files a page comes to ask for is learned from its first visits and
kept beside its snapshot. From then on the page says so in a `Link` header (RFC 8288; `modulepreload` and `preload` of
the HTML standard), and the browser asks for all of them at once.

Learned are only files that come with Gradio and that `apps.gateway.assets` serves by itself, and only for pages that
are the same for anybody: a list tells no more than the page. Whoever wants to fill it with what is not needed makes
a few hundred KiB come early, of one Space.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog
from django.db import transaction
from django.db.utils import Error as DatabaseError

from apps.gateway.assets import Asset
from apps.gateway.models import Snapshot
from apps.gateway.recent import Recent
from apps.gateway.requests import Request
from apps.gateway.routes import Route
from apps.runtime.database import in_database

log = structlog.get_logger(__name__)

VISITS = 4
"""From how many visits with an empty cache a page's list is learned."""
AGREEING = 2
"""In how many of them a file must have been asked for."""
VISIT_SECONDS = 5.0
"""What is asked for later, or after the app was told to do something, is not needed by everybody."""
MAX_FILES = 64
MAX_FILE_BYTES = 512 * 1024
MAX_FILES_BYTES = 2 * 1024**2
"""Of all files of a page, before compression."""
MAX_HEADER_BYTES = 3_000
"""Proxies take 4 KiB of headers by default (nginx, `proxy_buffer_size`)."""
MAX_KNOWN_BYTES = 16 * 1024**2
LIST_BYTES = 8 * 1024
"""What a list of `MAX_FILES` paths takes, about."""

KINDS = {
    "js": b"rel=modulepreload",
    "css": b"rel=preload;as=style;crossorigin",
    "woff2": b"rel=preload;as=font;crossorigin",
}
"""By a file's extension, in the mode in which Gradio's scripts ask for it: otherwise it would be loaded twice."""


@dataclass(slots=True)
class Page:
    """What is known of one page.

    Attributes:
        asked: files in the order in which they were first asked for, each with the number of visits that did.
        visits: how many visits that says something of.
        asked_at: when one of them was last asked for, by `time.monotonic`.
        learned: what the page says, once it is settled.
        size: bytes of `asked`.
    """

    asked: dict[str, int] = field(default_factory=dict)
    visits: int = 0
    asked_at: float = 0.0
    learned: list[str] | None = None
    size: int = 0

    @property
    def files(self) -> list[str]:
        if self.learned is not None:
            return self.learned
        return [path for path, visits in self.asked.items() if visits >= AGREEING]

    def takes(self, size: int) -> bool:
        """Whether there is room for one more file."""
        return len(self.asked) < MAX_FILES and self.size + size <= MAX_FILES_BYTES


@dataclass(slots=True)
class Visit:
    """Somebody who was given a page a moment ago."""

    page: Page
    began_at: float
    seen: set[str] = field(default_factory=set)


class Preloads:
    """What one event loop's gateway has learned."""

    def __init__(self) -> None:
        self._pages = Recent[tuple[int, str, str], Page](MAX_KNOWN_BYTES, lambda _: LIST_BYTES)
        self._visits = Recent[tuple[int, str, bytes], Visit](MAX_KNOWN_BYTES, lambda _: LIST_BYTES)
        self._writing: set[asyncio.Task[None]] = set()

    def of_page(self, request: Request, route: Route, shape: str, kept: list[str] | None) -> list[str]:
        """The files to name to whoever is given this page; what they ask for next is learned from.

        Args:
            request: for the page.
            route: its Space, with a deployment.
            shape: see `apps.gateway.models.Snapshot`; a page of other parts needs other files.
            kept: what was learned before, by any process of the portal.
        """
        assert route.deployment_id is not None
        path = request.path.decode("ascii")
        key = (route.deployment_id, shape, path)
        page = self._pages.get(key)
        if page is None:
            page = Page(learned=kept)
            self._pages.put(key, page)
        now = time.monotonic()
        if page.learned is None and page.visits >= VISITS and now - page.asked_at > VISIT_SECONDS:
            page.learned = page.files
            page.asked.clear()
            task = asyncio.create_task(self._keep(route.deployment_id, shape, path, page.learned))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
        if page.learned is None:
            self._visits.put(_visitor(request, route), Visit(page, now))
        return page.files

    def asked(self, request: Request, route: Route, asset: Asset) -> None:
        """Learn from a request for one of Gradio's files."""
        assert route.deployment_id is not None
        visit = self._visits.get(_visitor(request, route))
        if visit is None:
            return
        now = time.monotonic()
        page, path = visit.page, request.path.decode("ascii")
        if page.learned is not None or now - visit.began_at > VISIT_SECONDS or path in visit.seen:
            return
        # Who has been here before asks for fonts alone: that says nothing of what others need.
        if not visit.seen and (not asset.is_immutable or page.visits >= VISITS):
            return
        if path not in page.asked:
            if not _is_worth_it(path, asset) or not page.takes(len(asset.body)):
                return
            page.size += len(asset.body)
        page.visits += not visit.seen
        visit.seen.add(path)
        page.asked[path] = page.asked.get(path, 0) + 1
        page.asked_at = now

    def acted(self, request: Request, route: Route) -> None:
        """A visitor has the app do something: what is asked for from now on comes of that."""
        visit = self._visits.get(_visitor(request, route))
        if visit is not None:
            visit.began_at = -VISIT_SECONDS

    async def _keep(self, deployment_id: int, shape: str, path: str, files: list[str]) -> None:
        try:
            await _write(deployment_id, shape, path, files)
        except DatabaseError as error:  # it is learned again
            log.warning("what a page asks for was not kept", deployment=deployment_id, error=repr(error))

    async def close(self) -> None:
        """Wait for what is being written."""
        await asyncio.gather(*self._writing)


def _is_worth_it(path: str, asset: Asset) -> bool:
    kind = path.rpartition(".")[2]
    return kind in KINDS and (asset.is_immutable or kind == "woff2") and len(asset.body) <= MAX_FILE_BYTES


def _visitor(request: Request, route: Route) -> tuple[int, str, bytes]:
    assert route.deployment_id is not None
    return route.deployment_id, request.client, request.first.get(b"user-agent", b"")[:200]


@in_database
def _write(deployment_id: int, shape: str, path: str, files: list[str]) -> None:
    with transaction.atomic():
        found = Snapshot.objects.select_for_update().defer("content").filter(deployment=deployment_id, shape=shape)
        snapshot = found.first()
        if snapshot is not None:
            snapshot.preloads[path] = files
            snapshot.save(update_fields=["preloads"])


def link(files: Iterable[str], theme: bytes) -> bytes:
    """The value of a `Link` header; empty for none.

    Args:
        files: paths, in the order in which they are needed.
        theme: address of the theme's style sheet, with the digest by which the page asks for it; empty for none. The
            page's last script asks for it, and its text appears in the fonts that it names.
    """
    known = [(path, path.rpartition(".")[2]) for path in files]
    links = [b"<%b>;%b" % (path.encode(), KINDS[kind]) for path, kind in known if kind != "woff2"]
    if theme and links:
        links.append(b"<%b>;rel=preload;as=style" % theme)
    links += [b"<%b>;%b" % (path.encode(), KINDS[kind]) for path, kind in known if kind == "woff2"]
    size, said = 0, []
    for one in links:
        size += len(one) + 1
        if size > MAX_HEADER_BYTES:
            break
        said.append(one)
    return b",".join(said)
