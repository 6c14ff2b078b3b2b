"""Is the app ready? It is when it answers HTTP, on the port it was given or on one it chose itself."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time

from apps.runtime.spawner import Exit, Spawner

FAST_SECONDS, SLOW_SECONDS = 0.004, 0.25
"""Pause between two knocks at the expected port, in the first `FAST_FOR_SECONDS` and after them. A knock takes some
20 µs; to list the ports that are open takes the kernel milliseconds, and is done every `LIST_SECONDS` alone."""
FAST_FOR_SECONDS = 5
LIST_SECONDS = 0.5
OTHER_PORT_SECONDS = 1.0
"""How long a port other than the expected one must have been open before it is taken for the app's."""
ANSWER_SECONDS = 30
STATUS_LINE_BYTES = 1024


class NeverReady(Exception):
    """It did not answer in time; the text says what it did instead."""


class Ended(Exception):
    """It ended before it answered."""

    def __init__(self, exit: Exit) -> None:
        super().__init__()
        self.exit = exit


async def until_ready(spawner: Spawner) -> int:
    """Wait until the worker answers `spec.health_path` with a status below 500, and return the port.

    Raises:
        Ended: it ended.
        NeverReady: `spec.startup_seconds` are over.
    """
    spec = spawner.spec
    started = time.monotonic()
    looking = asyncio.create_task(_look(spawner, started))
    ending = asyncio.create_task(spawner.wait())
    try:
        await asyncio.wait({looking, ending}, timeout=spec.startup_seconds, return_when=asyncio.FIRST_COMPLETED)
        if looking.done():
            return looking.result()
        if ending.done():
            raise Ended(ending.result())
        raise NeverReady(_complaint(spawner))
    finally:
        for task in (looking, ending):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


async def _look(spawner: Spawner, started: float) -> int:
    expected, path = spawner.spec.port, spawner.spec.health_path
    others_since: float | None = None
    list_at = started + LIST_SECONDS
    while True:
        if await _answers(spawner, expected, path, started, list_at):
            return expected
        list_at = time.monotonic() + LIST_SECONDS
        others = spawner.listening_ports() - {expected}
        others_since = (others_since or time.monotonic()) if others else None
        if others_since is not None and time.monotonic() - others_since >= OTHER_PORT_SECONDS:
            for port in sorted(others):
                if await _answers(spawner, port, path, started, 0.0):
                    return port


async def _answers(spawner: Spawner, port: int, path: str, started: float, until: float) -> bool:
    """Knock at a port until it answers well, at least once and until a time at most."""
    while True:
        with contextlib.suppress(OSError):
            door = (await asyncio.to_thread(spawner.open_sockets, 1))[0]
            with door:
                while not _is_open(door, port):
                    if time.monotonic() >= until:
                        return False
                    await _pause(started)
                status = await _status(door, port, path)
                if status is not None and status < 500:
                    return True
        if time.monotonic() >= until:
            return False
        await _pause(started)


async def _pause(started: float) -> None:
    fast = time.monotonic() - started < FAST_FOR_SECONDS
    await asyncio.sleep(FAST_SECONDS if fast else SLOW_SECONDS)


def _is_open(door: socket.socket, port: int) -> bool:
    """Whether something listens; `door`, a socket that does not block, is then connected, and as good as new if not."""
    # Over loopback the outcome is there at once: the first call begins, the second is told.
    return any(door.connect_ex(("127.0.0.1", port)) in (0, errno.EISCONN) for _ in range(2))


async def _status(channel: socket.socket, port: int, path: str) -> int | None:
    """GET `path` and return the status, None when that is no HTTP server or it does not answer."""
    loop = asyncio.get_running_loop()
    request = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: portico\r\nConnection: close\r\n\r\n"
    line = b""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await loop.sock_sendall(channel, request.encode())
            while b"\r\n" not in line and len(line) < STATUS_LINE_BYTES:
                part = await loop.sock_recv(channel, STATUS_LINE_BYTES)
                if not part:
                    break
                line += part
    except (OSError, TimeoutError):
        return None
    version, _, rest = line.partition(b" ")
    status = rest[:3]
    return int(status) if version.startswith(b"HTTP/1.") and status.isdigit() else None


def _complaint(spawner: Spawner) -> str:
    spec = spawner.spec
    said = f"It did not answer within {spec.startup_seconds:g} seconds."
    ports = sorted(spawner.listening_ports())
    if not ports:
        return f"{said} Nothing listens; an app is expected on port {spec.port} (see the variable PORT)."
    listed = ", ".join(map(str, ports))
    return f"{said} Something listens on port {listed}, but GET {spec.health_path} gets a server error or no answer."
