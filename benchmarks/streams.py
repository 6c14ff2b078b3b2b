"""A thousand open event streams and a thousand websockets through the gateway at once. One run, loopback only.

python benchmarks/streams.py [--streams 1000] [--sockets 1000] [--seconds 60]

Each event stream gets a numbered event a second, each websocket sends a numbered message a second and gets it back.
Nothing may be missing, doubled or out of order. Printed are what arrived, how late the echoes were, and what one open
stream takes of the web process' memory, beside what the same streams take of the app when it is asked directly.
PORTICO_SERVER names the web server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.running_portal import RunningPortal, child, free_port  # noqa: E402

APP = """
import asyncio, base64, hashlib, os

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def events(writer):
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
    number = 0
    while True:
        event = b"data: %d\\n\\n" % number
        writer.write(b"%x\\r\\n%b\\r\\n" % (len(event), event))
        await writer.drain()
        number += 1
        await asyncio.sleep(1)


async def echo(reader, writer, key):
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
                 b"Sec-WebSocket-Accept: " + accept + b"\\r\\n\\r\\n")
    while True:
        code, size = await reader.readexactly(2)
        mask, text = await reader.readexactly(4), bytearray(await reader.readexactly(size & 127))
        for place in range(len(text)):
            text[place] ^= mask[place % 4]
        code = code & 15
        writer.write(bytes((0x80 | (10 if code == 9 else code), len(text))) + text)
        await writer.drain()
        if code == 8:
            return


async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            fields = dict(line.split(b": ", 1) for line in head.split(b"\\r\\n")[1:-2])
            fields = {name.lower(): value for name, value in fields.items()}
            if head.startswith(b"GET /events"):
                await events(writer)
            elif b"sec-websocket-key" in fields:
                await echo(reader, writer, fields[b"sec-websocket-key"])
                return
            else:
                writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["PORT"]), backlog=1024)
    await server.serve_forever()


asyncio.run(main())
"""
README = "---\nsdk: python\napp_file: app.py\n---\n"
AT_ONCE = 50
"""Connections opened at the same time: more would measure the queue of the listening socket."""
NORMAL_CLOSE = b"\x88\x82\x00\x00\x00\x00\x03\xe8"


@dataclass
class Heard:
    """What arrived on all streams together."""

    events: int = 0
    echoes: int = 0
    late_ms: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Streams:
    """Streams of one target, all at once.

    Args:
        port: where to connect to on 127.0.0.1.
        host: the `Host` to ask for.
    """

    def __init__(self, port: int, host: str) -> None:
        self.port, self.host = port, host
        self.heard = Heard()
        self.ends_at = float("inf")
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._awaited = 0
        self._all_open = asyncio.Event()

    async def run(self, streams: int, sockets: int, seconds: float, when_open: Callable[[], None]) -> None:
        tasks = [asyncio.create_task(self._guard(self._events)) for _ in range(streams)]
        tasks += [asyncio.create_task(self._guard(self._echoes)) for _ in range(sockets)]
        self._awaited = len(tasks)
        async with asyncio.timeout(60):
            await self._all_open.wait()
        self.ends_at = time.monotonic() + seconds
        await asyncio.sleep(seconds / 2)
        when_open()
        await asyncio.gather(*tasks)

    async def _guard(self, stream: Callable[[], Awaitable[None]]) -> None:
        try:
            await stream()
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self.heard.wrong.append(repr(error))
            self._opened()

    def _opened(self) -> None:
        self._awaited -= 1
        if self._awaited <= 0:
            self._all_open.set()

    async def _ask(self, path: str, more: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with self._gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n{more}\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 101")):
                raise ValueError(head.partition(b"\r\n")[0].decode())
            self._opened()
            return reader, writer

    async def _events(self) -> None:
        reader, writer = await self._ask("/events")
        number = 0
        while time.monotonic() < self.ends_at:
            size = int(await reader.readuntil(b"\r\n"), 16)
            event = (await reader.readexactly(size + 2))[:-2]
            for text in event.split(b"\n\n")[:-1]:
                if text != b"data: %d" % number:
                    raise ValueError(f"event {text!r} instead of {number}")
                number += 1
                self.heard.events += 1
        writer.close()

    async def _echoes(self) -> None:
        key = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        reader, writer = await self._ask("/socket", key + "dGhlIHNhbXBsZSBub25jZQ==\r\n")
        number = 0
        while time.monotonic() < self.ends_at:
            text, asked = str(number).encode(), time.perf_counter()
            writer.write(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)  # a mask of zeros changes nothing
            while True:
                code, size = await reader.readexactly(2)
                got = await reader.readexactly(size)
                if code != 0x89:  # a ping of the server's own
                    break
            if code != 0x81 or got != text:
                raise ValueError(f"message {code:#x} {got!r} instead of {number}")
            self.heard.late_ms.append((time.perf_counter() - asked) * 1000)
            self.heard.echoes += 1
            number += 1
            await asyncio.sleep(1)
        writer.write(NORMAL_CLOSE)
        writer.close()


def memory(pid: int) -> int:
    """A process' resident memory in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has ended")


def measure(name: str, pid: int, port: int, host: str, options: argparse.Namespace) -> None:
    count = options.streams + options.sockets
    before, during = memory(pid), 0

    def when_open() -> None:
        nonlocal during
        during = memory(pid)

    async def run() -> Heard:
        streams = Streams(port, host)
        await streams.run(options.streams, options.sockets, options.seconds, when_open)
        return streams.heard

    heard = asyncio.run(run())
    late = sorted(heard.late_ms)
    kib = (during - before) / count / 1024
    print(
        f"{name:<20} {heard.events:,} events, {heard.echoes:,} echoes (median {median(late):.1f} ms, 99 of 100 within "
        f"{late[len(late) * 99 // 100]:.1f} ms), {len(heard.wrong)} streams failed; "
        f"{kib:.1f} KiB a stream ({before / 1024**2:.0f} MB before)"
    )
    if heard.wrong:
        sys.exit(f"failed: {sorted(set(heard.wrong))[:5]}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"{options.streams} event streams and {options.sockets} websockets at once, {options.seconds:g} s")
    with tempfile.TemporaryDirectory(prefix="portico-benchmark-") as folder:
        app = Path(folder) / "app"
        app.mkdir()
        (app / "app.py").write_text(APP)
        (app / "README.md").write_text(README)
        with RunningPortal(Path(folder) / "data", PORTICO_ADMIN="ada:correct-horse-battery") as portal:
            portal.deploy(app, "ada/streams")
            host = portal.host("ada-streams")
            portal.get("/", host=host)
            server = os.environ.get("PORTICO_SERVER", "the default server")
            measure(f"gateway, {server}", child(portal, "portico web"), portal.port, host, options)
        asyncio.run(directly(app / "app.py", options))


async def directly(script: Path, options: argparse.Namespace) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), env={"PORT": str(port)})
    try:
        await asyncio.sleep(2)
        await asyncio.to_thread(measure, "the app, directly", process.pid, port, f"127.0.0.1:{port}", options)
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    main()
