"""Websocket round trips through the gateway, beside nginx and the same app asked directly. One run, loopback only.

python benchmarks/sockets.py [--seconds 3] [--rounds 3]

An app that sends back what it gets; each connection waits for its echo before it says the next thing. Echoes a second
and the median time of one, at 1 and at 16 connections. PORTICO_SERVER names the web server.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import peers  # noqa: E402
from tests.running_portal import RunningPortal  # noqa: E402

TEXT = b"thirty-two bytes, as a message is"[:32]
APP = """
import asyncio, base64, hashlib, os

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PLAIN = b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.rest, self.is_open = transport, b"", False

    def data_received(self, data):
        self.rest += data
        if not self.is_open and not self.open():
            return
        while len(self.rest) >= 6 and len(self.rest) >= 6 + (size := self.rest[1] & 127):
            code, mask = self.rest[0] & 15, int.from_bytes(self.rest[2:6], "big")
            text, self.rest = self.rest[6 : 6 + size], self.rest[6 + size :]
            key = (mask.to_bytes(4, "big") * (size // 4 + 1))[:size]
            text = (int.from_bytes(text, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
            self.transport.write(bytes((0x80 | (10 if code == 9 else code), size)) + text)
            if code == 8:
                self.transport.close()

    def open(self):
        head, found, rest = self.rest.partition(b"\\r\\n\\r\\n")
        if not found:
            return False
        fields = dict(line.split(b": ", 1) for line in head.split(b"\\r\\n")[1:])
        key = {k.lower(): v for k, v in fields.items()}.get(b"sec-websocket-key")
        self.rest = rest
        if key is None:
            self.transport.write(PLAIN)
            return False
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
            b"Sec-WebSocket-Accept: " + accept + b"\\r\\n\\r\\n"
        )
        self.is_open = True
        return True


async def main():
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()


asyncio.run(main())
"""
README = "---\nsdk: python\napp_file: app.py\n---\n"


@dataclass(frozen=True)
class Figures:
    """Echoes a second, and the median of their times in milliseconds."""

    rate: float
    median_ms: float


class Client(asyncio.Protocol):
    """One websocket that says the same thing again each time it comes back. It knows as much of RFC 6455 as that needs,
    so that little of what is measured is its own.

    Args:
        host: the `Host` header.
        times: where the seconds of each echo go.
    """

    ECHO = bytes((0x81, len(TEXT))) + TEXT

    def __init__(self, host: str, times: list[float]) -> None:
        self.times, self.is_open, self.rest = times, False, b""
        key = base64.b64encode(os.urandom(16)).decode()
        self.handshake = (
            f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        mask = os.urandom(4)
        masked = bytes(c ^ mask[i % 4] for i, c in enumerate(TEXT))
        self.message = bytes((0x81, 0x80 | len(TEXT))) + mask + masked
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.handshake)

    def data_received(self, data: bytes) -> None:
        self.rest += data
        if not self.is_open:
            head, found, self.rest = self.rest.partition(b"\r\n\r\n")
            if not found:
                self.rest = head
            elif head.startswith(b"HTTP/1.1 101 "):
                self.is_open = True
                self.opened.set_result(None)
            else:
                self.opened.set_exception(RuntimeError(f"no websocket: {head[:300]!r}"))
            return
        if self.rest == self.ECHO:
            self.rest = b""
            now = time.perf_counter()
            self.times.append(now - self.said_at)
            self.say()
        elif len(self.rest) >= len(self.ECHO):
            self.failed.set_exception(RuntimeError(f"another echo came back: {self.rest[:100]!r}"))

    def say(self) -> None:
        self.said_at = time.perf_counter()
        self.transport.write(self.message)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.failed.done():
            self.failed.set_exception(RuntimeError(f"the websocket was closed: {error}"))


async def measure(url: str, host: str, connections: int, seconds: float) -> Figures:
    """Let so many websockets echo for a while.

    Raises:
        RuntimeError: one was refused, closed, or answered something else.
    """
    times: list[float] = []
    address, loop = urlsplit(url), asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: Client(host, times), address.hostname, address.port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(client.opened for client in clients))
    started = time.perf_counter()
    for client in clients:
        client.say()
    await asyncio.wait([client.failed for client in clients], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    took = time.perf_counter() - started
    for client in clients:
        if client.failed.done():
            client.failed.result()
        client.failed.cancel()
        client.transport.abort()
    return Figures(len(times) / took, median(times) * 1000)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portico-sockets-") as name:
        app = Path(name) / "app"
        app.mkdir()
        (app / "app.py").write_text(APP)
        (app / "README.md").write_text(README)
        with (
            RunningPortal(Path(name) / "data", PORTICO_ADMIN="ada:correct-horse-battery") as portal,
            peers.directly(app / "app.py") as port,
            peers.nginx(port) as nginx,
        ):
            portal.deploy(app, "ada/echo")
            ways = {
                "directly": (f"http://127.0.0.1:{port}", "app"),
                "nginx": (nginx, "app"),
                "gateway": (f"http://127.0.0.1:{portal.port}", portal.host("ada-echo")),
            }
            report(ways, given.seconds, given.rounds)


def report(ways: dict[str, tuple[str, str]], seconds: float, rounds: int) -> None:
    server = os.environ.get("PORTICO_SERVER", "the default")
    print(f"server: {server}; {len(TEXT)} bytes a message, {seconds:g} s each, medians of {rounds}")
    for connections in (1, 16):
        found: dict[str, list[Figures]] = {way: [] for way in ways}
        for _ in range(rounds):  # in turn, so that what else the machine does meets all of them
            for way, (url, host) in ways.items():
                found[way].append(asyncio.run(measure(url, host, connections, seconds)))
        typical = {
            way: Figures(median(f.rate for f in figures), median(f.median_ms for f in figures))
            for way, figures in found.items()
        }
        said = ", ".join(f"{way} {f.rate:,.0f}/s {f.median_ms:.3f} ms" for way, f in typical.items())
        added = typical["gateway"].median_ms - typical["directly"].median_ms
        print(f"{connections:>3} connections: {said}; the gateway adds {added:.3f} ms")


if __name__ == "__main__":
    main()
