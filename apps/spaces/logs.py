"""Build and application logs: bounded files with offsets that survive rotation, pushed as they grow.

A log is a row of segments `PORTICO_DATA/logs/<space id>/<kind>.<offset>.log`, each named by the logical offset
of its first byte, so that a page that reconnects can say how far it had read.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from django.conf import settings

from apps.spaces import events

Kind = Literal["build", "run"]
PUSH_BYTES = 32 * 1024


def _folder(space_id: int) -> Path:
    return settings.PORTICO_DATA / "logs" / str(space_id)


def _segments(space_id: int, kind: Kind) -> list[tuple[int, Path]]:
    found = ((int(p.name.split(".")[1]), p) for p in _folder(space_id).glob(f"{kind}.*.log"))
    return sorted(found)


class LogWriter:
    """Appends to one log. One writer at a time; at most `PORTICO_LOG_BYTES` are kept, the newest.

    Args:
        space_id: whose log.
        kind: `build` or `run`.
        fresh: forget what was there; offsets go on rising, so readers notice nothing but a new text.
    """

    def __init__(self, space_id: int, kind: Kind, *, fresh: bool = False) -> None:
        self.space_id, self.kind = space_id, kind
        _folder(space_id).mkdir(parents=True, exist_ok=True)
        segments = _segments(space_id, kind)
        start, path = segments[-1] if segments else (0, _folder(space_id) / f"{kind}.0.log")
        self.offset = start + (path.stat().st_size if path.exists() else 0)
        if fresh:
            for _, old in segments:
                old.unlink()
            start, path = self.offset, _folder(space_id) / f"{kind}.{self.offset}.log"
        self._start, self._file = start, path.open("ab", buffering=0)

    def write(self, data: bytes) -> dict[str, object] | None:
        """Append `data` and return the message for the Space's group; `push` it. None for no data."""
        if not data:
            return None
        if self.offset - self._start > settings.PORTICO_LOG_BYTES // 2:
            self._rotate()
        at, self.offset = self.offset, self.offset + len(data)
        self._file.write(data)
        return {
            "type": "log.appended",
            "kind": self.kind,
            "offset": at,
            "end": self.offset,
            "text": data[-PUSH_BYTES:].decode(errors="replace"),
        }

    async def awrite(self, data: bytes) -> None:
        """Append and push."""
        if message := self.write(data):
            await events.push(events.space_group(self.space_id), message)

    def _rotate(self) -> None:
        self._file.close()
        for _, old in _segments(self.space_id, self.kind)[:-1]:
            old.unlink()
        self._start = self.offset
        self._file = (_folder(self.space_id) / f"{self.kind}.{self.offset}.log").open("ab", buffering=0)

    def close(self) -> None:
        self._file.close()


def read_log(space_id: int, kind: Kind, offset: int = 0) -> tuple[int, bytes, int]:
    """Return `(start, data, end)`: the bytes kept from logical `offset` on, the offset they start at, and the
    offset after them. `start` is larger than `offset` when older text was dropped."""
    parts: list[bytes] = []
    start: int | None = None
    end = 0
    for first, path in _segments(space_id, kind):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        end = first + len(data)
        if end <= offset:
            continue
        skip = max(0, offset - first)
        start = first + skip if start is None else start
        parts.append(data[skip:])
    return (end if start is None else start), b"".join(parts), end


def last_lines(space_id: int, kind: Kind, count: int = 20) -> str:
    """The last `count` lines, for a message."""
    _, data, _ = read_log(space_id, kind)
    return "\n".join(data.decode(errors="replace").splitlines()[-count:])


def delete_logs(space_id: int) -> None:
    shutil.rmtree(_folder(space_id), ignore_errors=True)
