"""What one process does and no other, told by a lock that the kernel takes from a process that dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings


@contextmanager
def held(name: str) -> Iterator[bool]:
    """Whether this process holds the lock called `name` while the block lasts, or another does."""
    folder = settings.PORTICO_DATA / "builds"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)
