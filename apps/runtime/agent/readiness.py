"""Is the app ready? It is when it answers HTTP, on the port it was given or on one it chose itself."""

from __future__ import annotations

import asyncio
import contextlib
import time

from apps.runtime.spawner import Exit, Spawner

FAST_SECONDS, SLOW_SECONDS = 0.004, 0.25
"""Pause between two looks, in the first `FAST_FOR_SECONDS` and after them. A look costs some 50 µs."""
FAST_FOR_SECONDS = 5
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
    expected = spawner.spec.port
    others_since: float | None = None
    while True:
        ports = spawner.listening_ports()
        now = time.monotonic()
        if expected in ports:
            candidates = [expected]
        else:
            others_since = (others_since or now) if ports else None
            waited = others_since is not None and now - others_since >= OTHER_PORT_SECONDS
            candidates = sorted(ports) if waited else []
        for port in candidates:
            status = await ask(spawner, port, spawner.spec.health_path)
            if status is not None and status < 500:
                return port
        fast = time.monotonic() - started < FAST_FOR_SECONDS
        await asyncio.sleep(FAST_SECONDS if fast else SLOW_SECONDS)


async def ask(spawner: Spawner, port: int, path: str) -> int | None:
    """GET `path` and return the status, None when that is no HTTP server or it does not answer."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            sockets = await asyncio.to_thread(spawner.open_sockets, 1)
            loop = asyncio.get_running_loop()
            with sockets[0] as channel:
                await loop.sock_connect(channel, ("127.0.0.1", port))
                request = (
                    f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: portico\r\nConnection: close\r\n\r\n"
                )
                await loop.sock_sendall(channel, request.encode())
                line = b""
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
