"""Celery's messages in files, for `portico up` on one machine: kombu's file transport without its half-written files.

Kombu (5.7) makes a message's file first and writes into it afterwards, under a lock for which its reader does not ask,
and makes the table of an exchange likewise. Whoever reads in between, or after a full disk or a power failure, finds an
empty file: a `JSONDecodeError` that ends the task worker, or fails the request of whoever sends a task.
"""

from __future__ import annotations

import fcntl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time_ns
from typing import Any

import structlog
from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps

log = structlog.get_logger(__name__)

SCHEME = "files"
UNFINISHED = ".unfinished"
LOOK_SECONDS = 0.2


def register() -> None:
    """Let kombu know the broker address `files://`."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"


class Channel(filesystem.Channel):
    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:
        """Write `payload` aside and give it its name when it is whole.

        Raises:
            ChannelError: it could not be written; nothing is left of it.
        """
        message = Path(self.data_folder_out) / f"{time_ns() // 1_000_000:016}_{uuid.uuid4()}.{queue}.msg"
        aside = message.with_name(message.name + UNFINISHED)
        try:
            aside.write_text(dumps(payload))
            aside.rename(message)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise ChannelError(f"Cannot add {message.name!r} to {self.data_folder_out}: {error}") from error

    def _get(self, queue: str) -> Any:
        """The next message that can be read. One that cannot is dropped: what it asked for is in the database, and is
        asked for again (`requeue_lost_builds`)."""
        while True:
            try:
                return super()._get(queue)
            except ValueError as error:
                log.warning("a message in the queue was unreadable, dropped it", queue=queue, error=str(error))

    def get_table(self, exchange: str) -> Any:
        with self._tables(exchange):
            return super().get_table(exchange)

    def _queue_bind(self, exchange: str, *arguments: Any) -> None:
        with self._tables(exchange):
            super()._queue_bind(exchange, *arguments)

    @contextmanager
    def _tables(self, exchange: str) -> Iterator[None]:
        """One process at a time at the exchanges' tables. An empty one was never written: it is made anew."""
        self.control_folder.mkdir(exist_ok=True)
        with (self.control_folder / "tables.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            table = self._exchange_file(exchange)
            if table.exists() and table.stat().st_size == 0:
                table.unlink()
            yield


class Transport(filesystem.Transport):
    Channel = Channel

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Wait for a message, where `timeout` seconds are given `LOOK_SECONDS` at the longest: in between, Celery looks
        whether it was told to end, which costs whoever pressed Ctrl-C its two seconds otherwise."""
        super().drain_events(connection, None if timeout is None else min(timeout, LOOK_SECONDS))
