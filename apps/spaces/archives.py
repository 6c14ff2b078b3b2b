"""Archives that strangers send: expanded under limits, or refused with nothing left behind."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from django.conf import settings

from apps.repos.paths import BadPath, clean_path

CHUNK_BYTES = 256 * 1024
SKIPPED_NAMES = {
    "__MACOSX",
    ".DS_Store",
    "Thumbs.db",
    "__pycache__",
    ".git",
    ".venv",
    "node_modules",
    ".ipynb_checkpoints",
}
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")


class ArchiveError(Exception):
    """Why an archive is refused, for the person who sent it."""


@dataclass(frozen=True)
class Member:
    """One file of an archive: its name there, and how to read it."""

    name: str
    open: Callable[[], IO[bytes]]


def is_archive(name: str) -> bool:
    """Whether a file's name says that it is an archive that `expand` takes."""
    return name.lower().endswith(SUFFIXES)


def expand(archive: Path, folder: Path) -> tuple[list[str], list[str]]:
    """Write the archive's files below `folder`, which must not exist yet.

    A single folder around everything is left out, as are the leavings of tools (`__MACOSX`, `__pycache__`, ...).
    Sizes are counted as bytes come out, never believed.

    Returns:
        The paths written, and the names left out.

    Raises:
        ArchiveError: it is not an archive, is broken, has names that climb out, links, devices or encryption, or
            passes `PORTICO_MAX_FILE_BYTES`, `PORTICO_MAX_REPO_BYTES` or `PORTICO_MAX_FILES`. `folder` is gone then.
    """
    try:
        return _expand(archive, folder)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ArchiveError(f"The archive is broken ({error}).") from error
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ArchiveError(f"The archive could not be expanded ({error.strerror or error}).") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _expand(archive: Path, folder: Path) -> tuple[list[str], list[str]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            return _write(list(_zip_members(opened)), folder)
    try:
        tar = tarfile.open(archive, "r:*")  # noqa: SIM115
    except tarfile.ReadError:
        raise ArchiveError("This is not a .zip, .tar or .tar.gz archive.") from None
    with tar:
        return _write(list(_tar_members(tar)), folder)


def _too_many() -> ArchiveError:
    return ArchiveError(f"The archive has more than {settings.PORTICO_MAX_FILES:,} entries.")


def _zip_members(opened: zipfile.ZipFile) -> Iterator[Member]:
    infos = opened.infolist()
    if len(infos) > settings.PORTICO_MAX_FILES * 2:
        raise _too_many()
    for info in infos:
        mode = info.external_attr >> 16
        if info.is_dir():
            continue
        if info.flag_bits & 0x1:
            raise ArchiveError(f"“{info.filename[:80]}” is encrypted.")
        if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise ArchiveError(f"“{info.filename[:80]}” is a link or device; only files and folders are taken.")
        yield Member(info.filename, lambda info=info: opened.open(info))  # type: ignore[misc]


def _tar_members(tar: tarfile.TarFile) -> Iterator[Member]:
    for number, info in enumerate(tar):
        if number >= settings.PORTICO_MAX_FILES * 2:
            raise _too_many()
        if info.isdir():
            continue
        if not info.isreg():
            raise ArchiveError(f"“{info.name[:80]}” is a link or device; only files and folders are taken.")

        def open_(info: tarfile.TarInfo = info) -> IO[bytes]:
            stream = tar.extractfile(info)
            assert stream is not None
            return stream

        yield Member(info.name.removeprefix("./"), open_)


def _write(members: list[Member], folder: Path) -> tuple[list[str], list[str]]:
    kept = [m for m in members if not SKIPPED_NAMES.intersection(m.name.split("/"))]
    skipped = sorted(m.name for m in members if SKIPPED_NAMES.intersection(m.name.split("/")))
    if len(kept) > settings.PORTICO_MAX_FILES:
        raise _too_many()
    try:
        names = [clean_path(m.name) for m in kept]
    except BadPath as error:
        raise ArchiveError(str(error)) from None
    names = _without_common_folder(names)
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise ArchiveError(f"“{twice}” is in the archive twice.")
    if not names:
        raise ArchiveError("The archive has no files in it.")
    left = settings.PORTICO_MAX_REPO_BYTES
    folder.mkdir(parents=True)
    for member, name in zip(kept, names, strict=True):
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, target.open("xb") as out:
                left -= _copy(source, out, name, left)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise ArchiveError(f"“{name}” is both a file and a folder in the archive.") from None
    return names, skipped


def _copy(source: IO[bytes], out: IO[bytes], name: str, left: int) -> int:
    written = 0
    while piece := source.read(CHUNK_BYTES):
        written += len(piece)
        if written > settings.PORTICO_MAX_FILE_BYTES:
            raise ArchiveError(f"“{name}” expands to more than {settings.PORTICO_MAX_FILE_BYTES:,} bytes.")
        if written > left:
            raise ArchiveError(f"The archive expands to more than {settings.PORTICO_MAX_REPO_BYTES:,} bytes.")
        out.write(piece)
    return written


def _without_common_folder(names: list[str]) -> list[str]:
    tops = {name.split("/", 1)[0] for name in names}
    if len(tops) == 1 and all("/" in name for name in names):
        return [name.split("/", 1)[1] for name in names]
    return names
