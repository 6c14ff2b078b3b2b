"""A channel layer for one machine without Redis.

Consumers live in the web process, in memory. The agent and the task worker, being processes of their own,
hand their messages over through a datagram socket in the data folder.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import socket
from pathlib import Path
from typing import Any

import structlog
from channels.layers import InMemoryChannelLayer

log = structlog.get_logger(__name__)

MAX_DATAGRAM_BYTES = 128 * 1024


class LocalChannelLayer(InMemoryChannelLayer):
    """`InMemoryChannelLayer`, reachable from the machine's other processes.

    The process that first joins a group becomes the one that holds the groups; it listens at `path`.
    A `group_send` from any other process goes there. A message is at most once delivered and lost when
    nobody listens, as the Channels specification allows.
    """

    def __init__(self, path: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = Path(path)
        self._listening_on: asyncio.AbstractEventLoop | None = None
        self._socket: socket.socket | None = None

    async def group_add(self, group: str, channel: str) -> None:
        self._listen()
        await super().group_add(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if self._socket is not None:
            await super().group_send(group, message)
        else:
            self._hand_over(group, message)

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        if self._listening_on is loop:
            return
        if self._socket is None:
            self.path.unlink(missing_ok=True)
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self._socket.bind(str(self.path))
            atexit.register(self.path.unlink, missing_ok=True)
        elif self._listening_on is not None and not self._listening_on.is_closed():
            self._listening_on.remove_reader(self._socket)
        loop.add_reader(self._socket, self._on_readable)
        self._listening_on = loop

    def _on_readable(self) -> None:
        assert self._socket is not None
        try:
            group, message = json.loads(self._socket.recv(MAX_DATAGRAM_BYTES))
        except (BlockingIOError, ValueError):
            return
        task = asyncio.ensure_future(super().group_send(group, message))
        self._pending = task  # keeps the task referenced until the next one

    def _hand_over(self, group: str, message: dict[str, Any]) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.settimeout(1)
            try:
                s.sendto(json.dumps([group, message]).encode(), str(self.path))
            except (FileNotFoundError, ConnectionRefusedError):
                pass
            except OSError as error:
                log.warning("channel message lost", group=group, error=str(error))
