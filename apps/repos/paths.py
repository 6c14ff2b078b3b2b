"""Paths of files within a repository."""

from __future__ import annotations

import unicodedata

MAX_PATH_BYTES = 1024
MAX_PART_BYTES = 255
MAX_DEPTH = 32


class BadPath(ValueError):
    """The path cannot be a file's in a repository; the message says why, for a person."""


def clean_path(path: str) -> str:
    """Return `path` as it is stored: relative, `/` between its parts, Unicode in NFC.

    Raises:
        BadPath: it is absolute, climbs out, names git's own folder, or has characters or a length that no
            file system would carry.
    """
    shown = path[:80]
    path = unicodedata.normalize("NFC", path)
    if not path or path.startswith("/") or "\\" in path:
        raise BadPath(f"“{shown}” is not a relative path with “/” between its parts.")
    if any(unicodedata.category(c) in {"Cc", "Cs"} for c in path):
        raise BadPath(f"“{shown!r}” has control characters in it.")
    if len(path.encode()) > MAX_PATH_BYTES:
        raise BadPath(f"“{shown}…” is longer than {MAX_PATH_BYTES} bytes.")
    parts = path.split("/")
    if len(parts) > MAX_DEPTH:
        raise BadPath(f"“{shown}” lies more than {MAX_DEPTH} folders deep.")
    for part in parts:
        if part in {"", ".", ".."}:
            raise BadPath(f"“{shown}” has an empty part, “.” or “..” in it.")
        if _is_dot_git(part):
            raise BadPath(f"“{shown}” names git's own folder.")
        if len(part.encode()) > MAX_PART_BYTES:
            raise BadPath(f"“{shown}” has a part longer than {MAX_PART_BYTES} bytes.")
    return path


def _is_dot_git(part: str) -> bool:
    """Whether some file system takes it for `.git` (CVE-2014-9390): case, ignored characters, short names."""
    visible = "".join(c for c in part if unicodedata.category(c) != "Cf")
    return visible.rstrip(" .").casefold() in {".git", "git~1"}
