"""Build and application logs: bounded files with offsets that survive rotation, pushed as they grow.

A log is a row of segments `PORTICO_DATA/logs/<space id>/<kind>.<offset>.log`, each named by the logical offset
of its first byte, so that a page that reconnects can say how far it had read.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import shutil
from pathlib import Path
from typing import Literal

from django.conf import settings

from apps.spaces import events

Kind = Literal["build", "run"]
TAIL_BYTES = 32 * 1024


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
        return {"type": "log.appended", "kind": self.kind, "offset": at, "end": self.offset}

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


def read_log(space_id: int, kind: Kind, offset: int = 0, newest: int | None = None) -> tuple[int, bytes, int]:
    """Return `(start, data, end)`: the bytes kept from logical `offset` on, the offset they start at, and the
    offset after them. `start` is larger than `offset` when older text was dropped.

    Args:
        newest: read at most so many bytes, the last ones.
    """
    segments = _segments(space_id, kind)
    if not segments:
        return 0, b"", 0
    if newest is not None:
        last, path = segments[-1]
        with contextlib.suppress(FileNotFoundError):
            offset = max(offset, last + path.stat().st_size - newest)
    parts: list[bytes] = []
    start: int | None = None
    end = segments[0][0]
    for number, (first, path) in enumerate(segments):
        if number + 1 < len(segments) and segments[number + 1][0] <= offset:
            continue
        skip = max(0, offset - first)
        try:
            with path.open("rb") as file:
                end = first + file.seek(0, io.SEEK_END)
                data = b"" if file.seek(skip) >= end - first else file.read(end - first - skip)
        except FileNotFoundError:
            continue
        if data:
            start = first + skip if start is None else start
            parts.append(data)
    return (end if start is None else start), b"".join(parts), end


def text_of(data: bytes) -> tuple[str, int]:
    """The text of `data`, and how many bytes it has without a last UTF-8 character whose rest is still to come."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    return text, len(data) - len(decoder.getstate()[0])


def last_lines(space_id: int, kind: Kind, count: int = 20) -> str:
    """The last `count` lines, for a message."""
    _, data, _ = read_log(space_id, kind, newest=TAIL_BYTES)
    return "\n".join(data.decode(errors="replace").splitlines()[-count:])


def delete_logs(space_id: int) -> None:
    shutil.rmtree(_folder(space_id), ignore_errors=True)
