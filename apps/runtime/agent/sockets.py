"""Hands out sockets made inside workers' network namespaces, over a unix socket (SCM_RIGHTS).

One packet asks, `{"worker": id, "count": n}`; one packet answers, `{"ok": true}` with n descriptors or `{"error":
text}`.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import structlog

from apps.runtime.netns import MAX_SOCKETS
from apps.runtime.spawner import Spawner

log = structlog.get_logger(__name__)

BACKLOG = 256
REQUEST_BYTES = 1024


class SocketServer:
    """Listens at `path`; `find` returns the spawner of a living worker, or None."""

    def __init__(self, path: Path, find: Callable[[UUID], Spawner | None], *, blocks: bool) -> None:
        self._path, self._find, self._blocks = path, find, blocks
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None

    def start(self) -> None:
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        self._listener.bind(str(self._path))
        self._listener.listen(BACKLOG)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    async def stop(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._path.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            channel, _ = self._listener.accept()
        except OSError as error:
            log.warning("no more connections", error=str(error))
            return
        channel.setblocking(False)
        task = asyncio.create_task(self._serve(channel))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, channel: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with channel:
            while request := await loop.sock_recv(channel, REQUEST_BYTES):
                try:
                    asked = json.loads(request)
                    made = await self._make(UUID(asked["worker"]), int(asked["count"]))
                except (OSError, ValueError, KeyError, TypeError) as error:
                    await loop.sock_sendall(channel, json.dumps({"error": str(error)}).encode())
                    continue
                try:
                    socket.send_fds(channel, [b'{"ok": true}'], [s.fileno() for s in made])
                except OSError:
                    return  # the asker went away
                finally:
                    for one in made:
                        one.close()

    async def _make(self, worker_id: UUID, count: int) -> list[socket.socket]:
        spawner = self._find(worker_id)
        if spawner is None:
            raise ConnectionError("the worker has ended")
        count = max(1, min(count, MAX_SOCKETS))
        if self._blocks:
            return await asyncio.to_thread(spawner.open_sockets, count)
        return spawner.open_sockets(count)
