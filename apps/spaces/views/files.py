"""A Space's files: looked at, downloaded, edited, deleted."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.repos import store
from apps.repos.paths import BadPath
from apps.repos.store import Add, Delete, NotFound
from apps.spaces.commits import commit_files
from apps.spaces.downloads import accelerated
from apps.spaces.forms import EditForm, messages_of
from apps.spaces.models import Space
from apps.spaces.views.access import context, owner_only, person, users

SHOWN_BYTES = 512 * 1024
COMMITS = 50
PASSIVE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp", "audio/", "video/", "font/", "application/pdf")
"""What keeps its type when it is downloaded. Everything else is text or bytes: a browser that took a script or a
style sheet from this origin would take it from the portal itself."""
NOT_TEXT = "is not UTF-8 text that could be edited here without damage. Download it, change it, and upload it again."


def _crumbs(path: str) -> list[tuple[str, str]]:
    parts = path.split("/") if path else []
    return [(part, "/".join(parts[: n + 1])) for n, part in enumerate(parts)]


def _link(space: Space, what: str, path: str = "") -> str:
    return f"{space.get_absolute_url()}/{what}/main/{quote(path)}".rstrip("/")


@require_safe
@users
def tree(request: HttpRequest, space: Space, path: str = "") -> HttpResponse:
    path = path.strip("/")
    try:
        entries = store.tree(space.repository, "main", path) if space.head else []
        commits = store.log(space.repository, limit=1) if space.head else []
    except (NotFound, BadPath):
        raise Http404 from None
    more: dict[str, Any] = {
        "entries": entries,
        "path": path,
        "crumbs": _crumbs(path),
        "last": commits[0] if commits else None,
    }
    return render(request, "spaces/tree.html", context(request, space, "files", **more))


@require_safe
@users
def blob(request: HttpRequest, space: Space, path: str) -> HttpResponse:
    try:
        size, pieces = store.chunks(space.repository, "main", path)
    except (NotFound, BadPath):
        raise Http404 from None
    data = b"".join(pieces) if size <= SHOWN_BYTES else b""
    is_text = size <= SHOWN_BYTES and b"\0" not in data
    more: dict[str, Any] = {
        "path": path,
        "crumbs": _crumbs(path),
        "size": size,
        "is_text": is_text,
        "text": data.decode(errors="replace") if is_text else "",
        "editable": is_text and _is_utf8(data),
        "too_large": size > SHOWN_BYTES,
        "head": space.head,
    }
    return render(request, "spaces/blob.html", context(request, space, "files", **more))


@require_safe
@users
def resolve(request: HttpRequest, space: Space, revision: str, path: str) -> HttpResponseBase:
    """The file's bytes, as a download: nothing of a Space's is ever rendered on the portal's origin."""
    try:
        sha = store.resolve(space.repository, revision)
        size, pieces = store.chunks(space.repository, sha, path)
    except (NotFound, BadPath):
        raise Http404 from None
    response: HttpResponseBase
    if request.method == "GET" and (location := accelerated(request, space, sha, path, size)):
        response = HttpResponse(content_type=_download_type(path), headers={"X-Accel-Redirect": location})
    else:
        body = _sent(pieces) if request.method == "GET" else _sent(iter(()))
        response = StreamingHttpResponse(body, content_type=_download_type(path))
        response["Content-Length"] = str(size)
    response["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(PurePosixPath(path).name)}"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response["X-Repo-Commit"] = sha
    return response


def _download_type(path: str) -> str:
    guessed = mimetypes.guess_type(path)[0] or "application/octet-stream"
    if guessed.startswith(PASSIVE_TYPES):
        return guessed
    return "text/plain; charset=utf-8" if guessed.startswith("text/") else "application/octet-stream"


async def _sent(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Asynchronous, or Django would collect the whole file in memory before its first byte is sent."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


@require_safe
@users
def commits(request: HttpRequest, space: Space) -> HttpResponse:
    try:
        offset = max(0, min(int(request.GET.get("from", "0")), 100_000))
    except ValueError:
        offset = 0
    found = store.log(space.repository, limit=COMMITS + 1, offset=offset) if space.head else []
    more = {"commits": found[:COMMITS], "next": offset + COMMITS if len(found) > COMMITS else None}
    return render(request, "spaces/commits.html", context(request, space, "files", **more))


@require_http_methods(["GET", "HEAD", "POST"])
@owner_only
def edit(request: HttpRequest, space: Space, path: str = "") -> HttpResponse:
    """A file in a plain editor; without a path, a new one. A commit that came in between is told, and the text kept."""
    if request.method == "POST":
        form = EditForm(request.POST)
        if form.is_valid() and _save(request, space, form, path):
            return redirect(_link(space, "blob", form.cleaned_data["path"]))
    else:
        text = _text(space, path) if path else ""
        if text is None:
            messages.error(request, f"{path} {NOT_TEXT}")
            return redirect(_link(space, "blob", path))
        form = EditForm(initial={"path": path, "text": text, "parent": space.head})
    more = {"form": form, "path": path, "crumbs": _crumbs(path)}
    return render(
        request, "spaces/edit.html", context(request, space, "files", **more), status=422 if form.errors else 200
    )


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text(space: Space, path: str) -> str | None:
    """The file as text; None when it is too large or is none."""
    try:
        size, pieces = store.chunks(space.repository, "main", path)
    except (NotFound, BadPath):
        raise Http404 from None
    data = b"".join(pieces) if size <= SHOWN_BYTES else b"\0"
    return data.decode() if b"\0" not in data and _is_utf8(data) else None


def _exists(space: Space, path: str) -> bool:
    try:
        store.chunks(space.repository, "main", path)
    except (NotFound, BadPath):
        return False
    return True


def _save(request: HttpRequest, space: Space, form: EditForm, path: str) -> bool:
    given = form.cleaned_data
    if given["path"] != path and _exists(space, given["path"]):
        form.add_error("path", f"{given['path']} is there already. Edit that file, or choose another name.")
        return False
    text = given["text"]
    if path and "\r\n" in (_text(space, path) or ""):
        text = text.replace("\n", "\r\n")  # as the file has it; the form's field only knows LF
    operations: list[store.Operation] = [Add(given["path"], text.encode())]
    if path and path != given["path"]:
        operations.insert(0, Delete(path))
    message = given["message"] or f"{'Edit' if path else 'Add'} {given['path']}"
    try:
        commit_files(space, operations, user=person(request), message=message, parent=given["parent"] or None)
    except store.Conflict:
        form.add_error(
            None,
            "Somebody else committed meanwhile. Your text is still here: compare it with the newest version, "
            "copy what you need, and save it again to put it on top.",
        )
        form.data = {**form.data.dict(), "parent": store.head(space.repository) or ""}  # type: ignore[attr-defined]
        return False
    except ValidationError as error:
        form.add_error("path", messages_of(error))
        return False
    return True


@require_POST
@owner_only
def delete(request: HttpRequest, space: Space, path: str) -> HttpResponse:
    try:
        commit_files(space, [Delete(path)], user=person(request), message=f"Delete {path}")
    except ValidationError:
        raise Http404 from None
    return redirect(_link(space, "tree", path.rpartition("/")[0]))
