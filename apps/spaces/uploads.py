"""Files on their way into a commit.

An upload is a row and a folder, `PORTICO_DATA/uploads/<id>/files/`. Its files are written aside and renamed when they
are whole, so that what broke off half-way is never seen. Committing takes all of them at once and ends the upload.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from apps.accounts.models import User
from apps.repos.paths import BadPath, clean_path
from apps.repos.store import Add, Operation
from apps.spaces import archives
from apps.spaces.commits import commit_files, first_readme
from apps.spaces.models import Space, Upload

MAX_OPEN_UPLOADS = 20


class UploadRefused(Exception):
    """Why a file is not taken, for the person who sent it."""


@dataclass(frozen=True)
class Staged:
    """A file of an upload. `size` is in bytes."""

    path: str
    size: int


def open_upload(user: User) -> Upload:
    """Begin an upload.

    Raises:
        UploadRefused: the person has too many open ones.
    """
    if user.uploads.count() >= MAX_OPEN_UPLOADS:
        oldest = user.uploads.order_by("created_at").first()
        if oldest is not None and timezone.now() - oldest.created_at < timedelta(hours=1):
            raise UploadRefused("You have too many uploads open at once. Commit or discard one, or try again later.")
        if oldest is not None:
            discard(oldest)
    upload = Upload.objects.create(user=user)
    _files(upload).mkdir(parents=True, mode=0o700)
    return upload


def receive(upload: Upload, path: str, chunks: Iterable[bytes], *, expand: bool = False) -> list[Staged]:
    """Take one file in.

    Args:
        path: where it goes, relative to the upload.
        chunks: its bytes.
        expand: it is an archive; take its files instead, into the folder that `path` lies in.

    Returns:
        The files taken.

    Raises:
        UploadRefused: the path or the content is refused, a limit is passed, or the disk is full. Nothing is kept.
    """
    try:
        path = clean_path(path)
    except BadPath as error:
        raise UploadRefused(str(error)) from None
    aside = _folder(upload) / f"{uuid.uuid4()}.part"
    try:
        _write(aside, chunks, path, _room(upload))
        if expand:
            return _take_archive(upload, path, aside)
        return _take_all(upload, {path: aside})
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise UploadRefused("The portal's disk is full; nothing was stored. Tell its administrator.") from error
        if error.errno in {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY}:
            raise UploadRefused(f"“{path}” is both a file and a folder in this upload.") from error
        raise
    finally:
        aside.unlink(missing_ok=True)


def _write(aside: Path, chunks: Iterable[bytes], path: str, room: int) -> None:
    size = 0
    with aside.open("xb") as out:
        for chunk in chunks:
            size += len(chunk)
            if size > settings.PORTICO_MAX_FILE_BYTES:
                raise UploadRefused(f"“{path}” has more than the {settings.PORTICO_MAX_FILE_BYTES:,} bytes a file may.")
            if size > room:
                raise UploadRefused(f"The upload has more than {settings.PORTICO_MAX_REPO_BYTES:,} bytes together.")
            out.write(chunk)


def _room(upload: Upload) -> int:
    taken: int = Upload.objects.values_list("bytes", flat=True).get(pk=upload.pk)
    return int(settings.PORTICO_MAX_REPO_BYTES) - taken


def _count(upload: Upload, files: int, size: int) -> None:
    Upload.objects.filter(pk=upload.pk).update(files=F("files") + files, bytes=F("bytes") + size)


def _reserve(upload: Upload, files: int, size: int) -> None:
    """Count files before they are taken, within the limits, whoever else sends some at the same time."""
    if not Upload.objects.filter(
        pk=upload.pk,
        files__lte=settings.PORTICO_MAX_FILES - files,
        bytes__lte=settings.PORTICO_MAX_REPO_BYTES - size,
    ).update(files=F("files") + files, bytes=F("bytes") + size):
        if size > _room(upload):
            raise UploadRefused(f"The upload has more than {settings.PORTICO_MAX_REPO_BYTES:,} bytes together.")
        raise UploadRefused(f"An upload may have {settings.PORTICO_MAX_FILES:,} files.")


def _take_all(upload: Upload, found: Mapping[str, Path]) -> list[Staged]:
    """Move the files of `found` to their places; those that replace another count once."""
    sizes = {path: aside.stat().st_size for path, aside in found.items()}
    replaced = [t.stat().st_size for path in found if (t := _files(upload) / path).is_file()]
    files, size = len(found) - len(replaced), sum(sizes.values()) - sum(replaced)
    _reserve(upload, files, size)
    try:
        for path, aside in found.items():
            target = _files(upload) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            aside.replace(target)
    except OSError:
        there = staged(upload)
        Upload.objects.filter(pk=upload.pk).update(files=len(there), bytes=sum(f.size for f in there))
        raise
    return [Staged(path, sizes[path]) for path in found]


def _take_archive(upload: Upload, path: str, archive: Path) -> list[Staged]:
    expanded = _folder(upload) / f"{uuid.uuid4()}.expanded"
    prefix = f"{path.rsplit('/', 1)[0]}/" if "/" in path else ""
    try:
        names, _ = archives.expand(archive, expanded)
        return _take_all(upload, {prefix + name: expanded / name for name in names})
    except archives.ArchiveError as error:
        raise UploadRefused(str(error)) from error
    finally:
        shutil.rmtree(expanded, ignore_errors=True)


def staged(upload: Upload) -> list[Staged]:
    """The files taken so far, by path."""
    root = _files(upload)
    found = (p for p in root.rglob("*") if p.is_file())
    return sorted((Staged(p.relative_to(root).as_posix(), p.stat().st_size) for p in found), key=lambda f: f.path)


def remove(upload: Upload, path: str) -> None:
    """Take a file back out; nothing happens when it is not there."""
    with contextlib.suppress(BadPath, OSError):
        target = _files(upload) / clean_path(path)
        size = target.stat().st_size
        target.unlink()
        _count(upload, -1, -size)
        for parent in target.parents:
            if parent == _files(upload):
                break
            parent.rmdir()


def commit_upload(upload: Upload, space: Space, *, user: User, message: str, folder: str = "") -> str:
    """Commit every file of the upload at once and end the upload. On any error the upload stays as it is.

    Args:
        folder: where in the repository the files go; the root when empty.

    Returns:
        The revision.

    Raises:
        django.core.exceptions.ValidationError: there is nothing in it, or the Space cannot take it.
        apps.repos.store.Conflict: too many commits at once.
        UploadRefused: `folder` is not a path, or the upload is being committed, or has been.
    """
    try:
        prefix = f"{clean_path(folder)}/" if folder else ""
    except BadPath as error:
        raise UploadRefused(str(error)) from None
    with _committing(upload):
        files = {prefix + f.path: _files(upload) / f.path for f in staged(upload)}
        operations: list[Operation] = [Add(path, source) for path, source in files.items()]
        if files and not space.head:
            operations += first_readme(space, files)
        revision = commit_files(space, operations, user=user, message=message)
        discard(upload)
    return revision


@contextlib.contextmanager
def _committing(upload: Upload) -> Iterator[None]:
    """One commit of an upload: by a lock that the kernel takes from a process that dies."""
    ended = UploadRefused("This upload has been committed already, or thrown away.")
    try:
        lock = (_folder(upload) / "commit.lock").open("w")
    except FileNotFoundError:
        raise ended from None
    except OSError as error:
        raise UploadRefused(f"The files could not be stored ({error.strerror}).") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UploadRefused("This upload is being committed already.") from None
        if not Upload.objects.filter(pk=upload.pk).exists():
            raise ended
        yield


def discard(upload: Upload) -> None:
    """Throw the upload away."""
    folder = _folder(upload)
    upload.delete()
    shutil.rmtree(folder, ignore_errors=True)


def discard_stale() -> int:
    """Throw away uploads older than `PORTICO_UPLOAD_HOURS`. Returns how many."""
    before = timezone.now() - timedelta(hours=settings.PORTICO_UPLOAD_HOURS)
    stale = list(Upload.objects.filter(created_at__lt=before))
    for upload in stale:
        discard(upload)
    return len(stale)


def _folder(upload: Upload) -> Path:
    return settings.PORTICO_DATA / "uploads" / str(upload.pk)


def _files(upload: Upload) -> Path:
    return _folder(upload) / "files"
