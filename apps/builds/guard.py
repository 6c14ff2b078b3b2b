"""How much a build may write to the portal's disk. A wheel of a megabyte may unfold to a terabyte."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

LOOK_SECONDS = 0.25
FREE_BYTES = 512 * 1024**2
"""A build that leaves less on a disk is ended: uploads, logs and the database need some."""


class Guard:
    """Watches a build's folders, and the disk that its cache is on.

    Args:
        folders: what it may write, for itself alone; together at most `PORTICO_MAX_ENVIRONMENT_BYTES`.
        cache: what it shares with others. uv unfolds a package there first, so that the disk is looked at as well.
    """

    def __init__(self, folders: tuple[Path, ...], cache: Path) -> None:
        self._folders, self._disks = folders, (*folders, cache)
        self._used_before = shutil.disk_usage(cache).used
        self._cache = cache
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._found = ""

    def watch(self, end: Callable[[], None]) -> None:
        """Look now and again until `verdict` is asked for, and call `end` when it is too much."""

        def run() -> None:
            pause = LOOK_SECONDS
            while not self._over.wait(pause):
                began = time.monotonic()
                if found := self._look():
                    self._found = found
                    end()
                    return
                pause = max(LOOK_SECONDS, 10 * (time.monotonic() - began))

        self._thread = threading.Thread(target=run, name="build guard", daemon=True)
        self._thread.start()

    def verdict(self) -> str:
        """What was too much, for the Space's author; empty when nothing was."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        return self._found or self._look()

    def _look(self) -> str:
        most = settings.PORTICO_MAX_ENVIRONMENT_BYTES
        if shutil.disk_usage(self._cache).used - self._used_before > 2 * most or self._size() > most:
            return f"The packages need more than the {most / 1024**3:,.1f} GiB of disk that they may have."
        if any(shutil.disk_usage(folder).free < FREE_BYTES for folder in self._disks if folder.exists()):
            return "The portal's disk is full. Tell its administrator."
        return ""

    def _size(self) -> int:
        total = 0
        for folder in self._folders:
            for root, _, names in os.walk(folder):
                for name in names:
                    try:
                        total += os.lstat(Path(root, name)).st_blocks * 512
                    except FileNotFoundError:
                        continue
        return total


@contextmanager
def cache_in_use(cache: Path) -> Iterator[None]:
    """While a build uses it, so that nobody tidies it up."""
    with (cache / ".portico").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def sweep_cache(cache: Path) -> None:
    """Delete what builds that were ended had begun to unfold, unless another one is under way."""
    if not cache.is_dir():
        return
    with (cache / ".portico").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for left in cache.glob(".tmp*"):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
