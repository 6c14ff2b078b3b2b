"""Static Spaces: the files of the current deployment, without a worker.

Paths are walked folder by folder from an open descriptor and never through a link, so nothing outside the
deployment's folder can be named, whatever is in it. A deployment's files never change, so what was found once is
remembered, small files with their bytes.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
import re
import stat
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path, PurePosixPath
from typing import Any, Self
from urllib.parse import quote, unquote_to_bytes
from weakref import WeakKeyDictionary

from apps.gateway import accel, pages
from apps.gateway import headers as h
from apps.gateway.answers import Answer, HostAnswer
from apps.gateway.recent import Recent
from apps.gateway.requests import SAFE_METHODS, Request
from apps.gateway.routes import Route

CHUNK_BYTES = 256 * 1024
SMALL_BYTES = 64 * 1024
"""Files up to this size are kept in memory while they are asked for."""
MAX_KNOWN_BYTES = 32 * 1024**2
HIDDEN = frozenset({"readme.md"})
"""The card is shown on the Space's page; its front matter is no part of the site."""

TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".md": "text/markdown",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".woff2": "font/woff2",
    ".ico": "image/x-icon",
}
"""Where the machine's own table of types differs between systems."""


class IsFolder(Exception):
    """The path is a folder and was asked without its slash."""


@dataclass(slots=True)
class File:
    """An open file. Closed at the end of a `with`.

    Attributes:
        path: where it was when it was opened.
    """

    descriptor: int
    path: Path
    size: int
    modified: float

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self.descriptor)

    @property
    def content_type(self) -> str:
        kind = TYPES.get(self.path.suffix.lower()) or mimetypes.guess_type(self.path.name)[0]
        kind = kind or "application/octet-stream"
        return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def segments(path: bytes) -> list[str] | None:
    """The decoded parts of a request's path, or None for one that no file here can have.

    >>> segments(b"/a%20b/")
    ['a b', '']
    """
    try:
        parts = unquote_to_bytes(path).decode().split("/")[1:]
    except UnicodeDecodeError:
        return None
    for part in parts[:-1]:
        if not part:
            return None
    if any("\x00" in p or "\\" in p or p.startswith(".") for p in parts):
        return None
    return parts


def open_file(root: Path, parts: list[str], index: str) -> File:
    """Open `parts` under `root`, `index` for a folder.

    Raises:
        IsFolder: it is a folder, asked without a slash at the end.
        FileNotFoundError: there is no such ordinary file.
    """
    if ".." in parts:
        raise FileNotFoundError("..")
    try:
        here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise FileNotFoundError(str(error)) from None
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        name = parts[-1] or index
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
    except OSError as error:
        raise FileNotFoundError(str(error)) from None
    finally:
        os.close(here)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode):
        return File(descriptor, root.joinpath(*parts[:-1], name), found.st_size, found.st_mtime)
    os.close(descriptor)
    if stat.S_ISDIR(found.st_mode) and parts[-1]:
        raise IsFolder
    raise FileNotFoundError(name)


def _find(route: Route, parts: list[str]) -> File:
    """The site is the folder in which `app_file` lies; that file is its first page."""
    app_file = PurePosixPath(route.app_file or "index.html")
    if len(parts) == 1 and parts[0].lower() in HIDDEN:
        raise FileNotFoundError
    index = app_file.name if len(parts) == 1 else "index.html"
    return open_file(route.folder, [*app_file.parent.parts, *parts], index)


def byte_range(value: bytes | None, size: int) -> tuple[int, int] | None:
    """First and last byte of a `Range` header with one range.

    Returns:
        None when the whole file is to be sent: no header, another unit, several ranges, or malformed.

    Raises:
        ValueError: the range lies outside of the file.
    """
    found = re.fullmatch(rb"bytes=(\d{0,18})-(\d{0,18})", (value or b"").replace(b" ", b""))
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        if not length:
            raise ValueError("empty range")
        return size - length, size - 1
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    if found[2] and int(found[2]) < first:
        return None
    if first >= size:
        raise ValueError("range beyond the end")
    return first, last


async def serve_static(request: Request, route: Route, answer: Answer) -> None:
    """Answer with a file of the deployment."""
    if request.method not in SAFE_METHODS:
        await answer.page(pages.method_not_allowed(request.method), [(b"allow", b"GET, HEAD")])
        return
    parts = segments(request.path)
    if parts is None:
        await answer.page(pages.no_such_file())
        return
    try:
        file = await _known_file(route, parts)
    except IsFolder:
        path = request.prefix + "".join(f"/{quote(p)}" for p in parts) + "/"
        query = b"?" + request.query if request.query else b""
        await answer.whole(307, [(b"location", path.encode() + query)], b"")
        return
    except FileNotFoundError:
        await _not_found(route, answer)
        return
    await _send_file(request, route, answer, file)


@dataclass(slots=True)
class Known:
    """A file as it was found.

    Attributes:
        route: by which it is found again.
        parts: likewise.
        content: all of it where it is small, else None.
    """

    route: Route
    parts: list[str]
    path: Path
    size: int
    content_type: bytes
    etag: bytes
    last_modified: bytes
    content: bytes | None


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Recent[tuple[Any, ...], Known]] = WeakKeyDictionary()


async def _known_file(route: Route, parts: list[str]) -> Known:
    """A file as it was found, of late or now. Raises: as `open_file`."""
    loop = asyncio.get_running_loop()
    files = _of_loops.get(loop)
    if files is None:
        files = _of_loops[loop] = Recent(MAX_KNOWN_BYTES, lambda file: len(file.content or b""))
    key = (route.deployment_id, *parts)
    known = files.get(key)
    if known is None:
        known = await asyncio.to_thread(_look_at, route, parts)
        files.put(key, known)
    return known


def _look_at(route: Route, parts: list[str]) -> Known:
    with _find(route, parts) as file:
        etag = f'"{route.deployment_id:x}-{file.size:x}-{int(file.modified * 1e6):x}"'
        content = os.pread(file.descriptor, SMALL_BYTES, 0) if file.size <= SMALL_BYTES else None
        if content is not None and len(content) != file.size:
            raise OSError("the file changed while it was read")
        return Known(
            route=route,
            parts=parts,
            path=file.path,
            size=file.size,
            content_type=file.content_type.encode(),
            etag=etag.encode(),
            last_modified=formatdate(file.modified, usegmt=True).encode(),
            content=content,
        )


async def _not_found(route: Route, answer: Answer) -> None:
    try:
        file = await _known_file(route, ["404.html"])
    except (FileNotFoundError, IsFolder):
        await answer.page(pages.no_such_file())
        return
    await _send_part(answer, 404, _headers(route, file), file, (0, file.size))


def _headers(route: Route, file: Known) -> h.Headers:
    return [
        (b"content-type", file.content_type),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"private, no-cache" if route.closed else b"public, max-age=0, must-revalidate"),
    ]


async def _send_file(request: Request, route: Route, answer: Answer, file: Known) -> None:
    headers = [
        *_headers(route, file),
        (b"etag", file.etag),
        (b"accept-ranges", b"bytes"),
        (b"last-modified", file.last_modified),
    ]
    if h.matches(h.get(request.headers, b"if-none-match"), file.etag):
        await answer.start(304, [(k, v) for k, v in headers if k != b"content-type"])
        await answer.body(b"", more=False)
        return
    whole = headers
    first, last, status = 0, file.size - 1, 200
    if_range = h.get(request.headers, b"if-range")
    if if_range is None or if_range.strip() == file.etag:
        try:
            if wanted := byte_range(h.get(request.headers, b"range"), file.size):
                first, last = wanted
                status = 206
                headers = [*headers, (b"content-range", f"bytes {first}-{last}/{file.size}".encode())]
        except ValueError:
            await answer.whole(416, [(b"content-range", f"bytes */{file.size}".encode())], b"")
            return
    if isinstance(answer, HostAnswer) and _is_for_nginx(request, file):
        location = accel.location(file.path)
        if location is not None and await answer.hand_over(whole, location):
            return
    await _send_part(answer, status, headers, file, (first, last + 1))


def _is_for_nginx(request: Request, file: Known) -> bool:
    """Whether an nginx in front is to send the file: it asks for that, and understands the `Range` as we do."""
    if request.method != "GET" or not accel.is_asked_for(request.headers):
        return False
    said = h.get(request.headers, b"range")
    try:
        return said is None or byte_range(said, file.size) is not None
    except ValueError:
        return False


async def _send_part(answer: Answer, status: int, headers: h.Headers, file: Known, part: tuple[int, int]) -> None:
    """Send the file from one byte up to, and without, another."""
    offset, end = part
    headers = [*headers, (b"content-length", str(end - offset).encode())]
    if answer.method == "HEAD" or file.content is not None:
        await answer.start(status, headers)
        await answer.body(b"" if answer.method == "HEAD" else (file.content or b"")[offset:end], more=False)
        return
    try:
        opened = await asyncio.to_thread(_find, file.route, file.parts)
    except (FileNotFoundError, IsFolder):  # its deployment was deleted since it was found
        await answer.page(pages.no_such_file())
        return
    with opened:
        await answer.start(status, headers)
        while offset < end:
            chunk = await asyncio.to_thread(os.pread, opened.descriptor, min(end - offset, CHUNK_BYTES), offset)
            if not chunk:
                raise OSError("the file became shorter while it was sent")
            offset += len(chunk)
            await answer.body(chunk, more=offset < end)
