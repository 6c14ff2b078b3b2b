"""A Gradio page's scripts, styles and fonts, served by the portal: awake or not, and for every Space of one version.

They come with Gradio's package and are the same for all who have that version, so they are kept by their content,
compressed as well as Brotli and gzip can, and sent without the worker. A file is compressed
quickly when it is first asked for, and thoroughly beside that, once for the whole portal. Which Spaces have Gradio at
the root of their host, so that `/assets/` and `/static/` are its own, is found out when their snapshot is taken.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from django.conf import settings

from apps.builds import bundles
from apps.builds.installer import environments_folder
from apps.gateway import headers as h
from apps.gateway.answers import Answer
from apps.gateway.codings import BR, compress
from apps.gateway.recent import Recent
from apps.gateway.requests import SAFE_METHODS, Request
from apps.gateway.routes import Route
from apps.gateway.static import IsFolder, open_file, segments

log = structlog.get_logger(__name__)

PATHS = (b"/assets/", b"/static/", b"/svelte/")
MAX_FILE_BYTES = 8 * 1024**2
"""Larger ones (a whole ffmpeg) are left to the app; few pages ask for them."""
MAX_KNOWN_BYTES, MAX_CODED_BYTES = 40 * 1024**2, 24 * 1024**2
"""For files as they are, and compressed."""
MAX_QUEUED = 1_000
TEXT = frozenset({".css", ".html", ".js", ".json", ".map", ".mjs", ".svg", ".ttf", ".txt", ".wasm"})
"""What gets smaller: the others are compressed already."""
SMALLEST_BYTES = 200
HASHED_NAME = re.compile(r"[.-][A-Za-z0-9_-]{8,}\.\w+")
"""The end of a name in `/assets/` that changes with its content, as Vite writes it."""
KEPT_SECONDS = 90 * 24 * 3600
OF_PACKAGE = "gradio=="
"""Before a version: the files of Gradio's own package (`apps.builds.bundles`) instead of an Environment's."""


@dataclass(slots=True)
class Asset:
    """A file of Gradio's own page.

    Attributes:
        digest: SHA-256 of its content, hexadecimal.
        content_type: with its charset.
        is_immutable: whether its address changes when it does.
        is_text: whether compressing it is of use.
        body: its content.
    """

    digest: str
    content_type: str
    is_immutable: bool
    is_text: bool
    body: bytes


def folder() -> Path:
    """Where compressed assets are kept."""
    return settings.PORTICO_DATA / "assets"


def frontend(environment: str) -> Path | None:
    """Gradio's own page within an Environment, or of `OF_PACKAGE` and a version; None where there is none."""
    if environment.startswith(OF_PACKAGE):
        version = environment.removeprefix(OF_PACKAGE)
        return bundles.folder() / version if bundles.is_there(version) else None
    found = (environments_folder() / environment).glob("lib/python3*/site-packages/gradio/templates/frontend")
    return next(iter(sorted(found)), None)


def parts_of(path: bytes) -> list[str] | None:
    """Where a request's path lies within `frontend`, as Gradio's own routes have it."""
    parts = segments(path)
    if parts is None or ".." in parts or not parts[-1]:
        return None
    return ["assets", *parts] if parts[0] == "svelte" else parts


def read(environment: str, parts: list[str]) -> Asset | None:
    """Read a file of an Environment's Gradio; None when there is none, or it is too large."""
    root = frontend(environment)
    if root is None:
        return None
    try:
        file = open_file(root, parts, "")
    except (FileNotFoundError, IsFolder):
        return None
    with file:
        if file.size > MAX_FILE_BYTES:
            return None
        content = os.pread(file.descriptor, file.size + 1, 0)
        name = file.path.name
        return Asset(
            digest=hashlib.sha256(content).hexdigest(),
            content_type=file.content_type,
            is_immutable=parts[0] == "assets" and HASHED_NAME.search(name) is not None,
            is_text=file.path.suffix.lower() in TEXT and len(content) >= SMALLEST_BYTES,
            body=content,
        )


class Store:
    """What was compressed, on disk, by content. Shared by all processes of the portal."""

    def path(self, digest: str, coding: bytes) -> Path:
        return folder() / digest[:2] / f"{digest}.{coding.decode()}"

    def load(self, digest: str, coding: bytes) -> bytes | None:
        path = self.path(digest, coding)
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return content

    def save(self, digest: str, coding: bytes, content: bytes) -> None:
        path = self.path(digest, coding)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            aside.write_bytes(content)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what no process has loaded for three months, and halves that one left when it died."""
        since = time.time() - KEPT_SECONDS
        for path in folder().glob("*/*"):
            with suppress(OSError):
                if path.stat().st_mtime < (time.time() - 3600 if path.name.startswith(".") else since):
                    path.unlink()


class Assets:
    """The assets that one event loop's gateway was asked for, the latest last."""

    def __init__(self) -> None:
        self._known = Recent[tuple[str, bytes], Asset | None](MAX_KNOWN_BYTES, lambda a: len(a.body) if a else 0)
        self._coded = Recent[tuple[str, bytes], bytes](MAX_CODED_BYTES, len)
        self._store = Store()
        self._compressor: ThreadPoolExecutor | None = None
        self._queued: set[str] = set()

    async def serve(self, request: Request, route: Route, answer: Answer) -> Asset | None:
        """Answer with an asset, and return it. None when this is none, and nothing was answered."""
        if not request.path.startswith(PATHS) or request.prefix or request.method not in SAFE_METHODS:
            return None
        asset = await self.find(route.assets, request.path)
        if asset is None:
            return None
        coding = coding_of(asset, request.first.get(b"accept-encoding", b""))
        etag = etag_of(asset, coding)
        headers = [
            (b"content-type", asset.content_type.encode()),
            (b"cache-control", cache_control(route, is_immutable=asset.is_immutable)),
            (b"etag", etag),
            (b"vary", b"Accept-Encoding"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if h.matches(request.first.get(b"if-none-match"), etag):
            await answer.start(304, headers)
            await answer.body(b"", more=False)
            return asset
        body = await self.body(asset, coding)
        if coding:
            headers.append((b"content-encoding", coding))
        await answer.whole(200, headers, body)
        return asset

    async def body(self, asset: Asset, coding: bytes) -> bytes:
        """The asset in `coding`, as it is for none."""
        if not coding:
            return asset.body
        return self._coded.get((asset.digest, coding)) or await self._compressed(asset, coding)

    async def find(self, environment: str, path: bytes) -> Asset | None:
        """The asset of a path of Gradio's own; None where there is none. `environment` as `frontend` takes it."""
        key = (environment, path)
        if key in self._known:
            return self._known.get(key)
        parts = parts_of(path)
        asset = await asyncio.to_thread(read, environment, parts) if parts is not None else None
        self._known.put(key, asset)
        return asset

    async def _compressed(self, asset: Asset, coding: bytes) -> bytes:
        key = (asset.digest, coding)
        body = await asyncio.to_thread(self._store.load, *key)
        if body is None:
            if coding == BR:
                self._compress_well(asset)
            body = await asyncio.to_thread(compress, asset.body, coding)
            if key in self._coded:  # well, meanwhile
                return self._coded.get(key) or body
        self._coded.put(key, body)
        return body

    def _compress_well(self, asset: Asset) -> None:
        """Begin to, beside the loop and one file after the other."""
        if asset.digest in self._queued or len(self._queued) >= MAX_QUEUED:
            return
        if self._compressor is None:
            self._compressor = ThreadPoolExecutor(1, "portico-assets")
        self._queued.add(asset.digest)
        loop = asyncio.get_running_loop()

        def done(body: bytes | None) -> None:
            self._queued.discard(asset.digest)
            if body is not None:
                self._coded.put((asset.digest, BR), body)

        def work() -> None:
            body: bytes | None = None
            try:
                body = compress(asset.body, BR, thoroughly=True)
                self._store.save(asset.digest, BR, body)
            except OSError as error:
                log.warning("a compressed asset could not be kept", error=repr(error))
            finally:
                with suppress(RuntimeError):  # the loop has been closed meanwhile
                    loop.call_soon_threadsafe(done, body)

        self._compressor.submit(work)

    def close(self) -> None:
        if self._compressor is not None:
            self._compressor.shutdown(wait=False, cancel_futures=True)


def coding_of(asset: Asset, accepted: bytes) -> bytes:
    """The best that an `Accept-Encoding` takes; none where nothing gets smaller."""
    return h.best_coding(accepted) if asset.is_text else b""


def etag_of(asset: Asset, coding: bytes) -> bytes:
    return f'"{asset.digest[:32]}{f"-{coding.decode()}" if coding else ""}"'.encode()


def cache_control(route: Route, *, is_immutable: bool) -> bytes:
    """How long a browser may keep what is the same for anybody; others than browsers only where anybody may see it."""
    whose = b"private" if route.closed else b"public"
    if is_immutable:
        return whose + b", max-age=31536000, immutable"
    return whose + b", max-age=0, must-revalidate"
