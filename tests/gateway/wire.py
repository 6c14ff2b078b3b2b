"""A real web server with the gateway behind it, and an app that answers byte for byte what a test tells it to.

Only the agent and the database are stood in for, so that a case takes milliseconds: what is looked at is what passes on
the wire, on both sides of the gateway.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.running_portal import ROOT, free_port
from tests.waiting import wait_until

HOST = b"ada-wire.spaces.localhost:8000"
SERVER = """
import asyncio, os, socket, sys
from dataclasses import replace
import django
os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"
django.setup()
from uuid import UUID
from apps.gateway import proxy, routes, usage, watch, workers
from apps.gateway.routes import Route
from apps.runtime.client import RunningWorker
from portal import asgi, uvicorn_server
from portal.server import server

APP = int(sys.argv[2])
ROUTE = Route(space_id=1, slug="ada/wire", owner_id=1, subdomain="ada-wire", private=False, withheld=False,
              stage="RUNNING", stage_message="", sdk="python", disable_embedding=False, deployment_id=1)
ROUTES = [
    ROUTE,
    replace(ROUTE, space_id=2, slug="ada/asleep", subdomain="ada-asleep"),
    replace(ROUTE, space_id=3, slug="ada/gone", subdomain="ada-gone"),
]

async def read_route(key):
    return next((one for one in ROUTES if key in (("subdomain", one.subdomain), ("slug", one.slug))), None)

async def read_routes(space_ids):
    return [one for one in ROUTES if one.space_id in space_ids]

async def ensure_worker(space_id, *, timeout):
    if space_id == 2:
        await asyncio.sleep(0.3)
        raise TimeoutError
    return RunningWorker(UUID(int=space_id), APP if space_id == 1 else 1, "local", 1)

async def worker_sockets(worker_id, count):
    made = [socket.socket() for _ in range(count)]
    for one in made:
        one.setblocking(False)
    return made

async def report_activity(open_requests):
    pass

async def pages(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "websocket.close", "code": 1000})

routes.read_route, watch.read_routes = read_route, read_routes
workers.runtime.ensure_worker, workers.runtime.worker_sockets = ensure_worker, worker_sockets
workers.runtime.report_activity = report_activity
asgi.portal = pages  # Django would look for a database
usage.set_keeper(lambda tallies: None)  # likewise
proxy.HEAD_SECONDS = float(sys.argv[3])
uvicorn_server.HEAD_SECONDS = uvicorn_server.BODY_SECONDS = 1.0
uvicorn_server.STALLED_SECONDS = 1.0
server(asgi.application, "127.0.0.1", int(sys.argv[1])).run()
"""


class App:
    """Listens like a worker; answers a request for `/<name>` with the bytes that `answers[name]` holds, piece by piece,
    and anything else with what it got.

    Attributes:
        answers: pieces, and between them seconds to wait (a float also notices that the other side went). `CLOSE`
            closes the connection there, `RESET` resets it, `ACCEPT` accepts a websocket (RFC 6455, section 4.2.2).
        requests: heads as they arrived, with their bodies.
        gone: how many connections ended while it waited.
    """

    CLOSE, RESET, ACCEPT = object(), object(), object()

    def __init__(self) -> None:
        self.answers: dict[str, list[object]] = {}
        self.requests: list[bytes] = []
        self.gone = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            rest = b""
            while True:
                while b"\r\n\r\n" not in rest:
                    if not (data := connection.recv(65536)):
                        return
                    rest += data
                head, _, rest = rest.partition(b"\r\n\r\n")
                place = len(self.requests)
                self.requests.append(head + b"\r\n\r\n")
                name = re.split(rb"[ ?]", head)[1].decode().strip("/")
                pieces = self.answers.get(name, [])
                if not (pieces and pieces[0] == "early"):
                    body, rest = self._body(connection, head.lower(), rest)
                    self.requests[place] += body
                if not pieces:
                    got = self.requests[place]
                    pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(got) + got]
                if not self._say(connection, pieces, head):
                    return

    def _say(self, connection: socket.socket, pieces: list[object], head: bytes) -> bool:
        for piece in pieces:
            if piece is self.ACCEPT:
                connection.sendall(_accepted(head))
            elif isinstance(piece, bytes):
                try:
                    connection.sendall(piece)
                except OSError:
                    self.gone += 1
                    return False
            elif isinstance(piece, int):
                time.sleep(piece)
            elif isinstance(piece, float):
                connection.settimeout(piece)
                try:
                    if connection.recv(1, socket.MSG_PEEK) == b"":
                        self.gone += 1
                        return False
                except TimeoutError:
                    pass
                except OSError:
                    self.gone += 1
                    return False
                connection.settimeout(None)
            elif piece is self.RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return False
            elif piece is self.CLOSE:
                return False
        return True

    @staticmethod
    def _body(connection: socket.socket, head: bytes, rest: bytes) -> tuple[bytes, bytes]:
        found = re.search(rb"\r\ncontent-length: *(\d+)", head)
        if found:
            wanted = int(found[1])
            while len(rest) < wanted:
                if not (data := connection.recv(1024**2)):
                    raise ConnectionError
                rest += data
            return rest[:wanted], rest[wanted:]
        if b"\r\ntransfer-encoding: chunked" in head:
            while not rest.endswith(b"0\r\n\r\n"):
                if not (data := connection.recv(1024**2)):
                    raise ConnectionError
                rest += data
            return rest, b""
        return b"", rest


def _accepted(handshake: bytes) -> bytes:
    found = re.search(rb"\r\nsec-websocket-key: *(\S+)", handshake, re.IGNORECASE)
    assert found is not None
    key = hashlib.sha1(found[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return head + b"Sec-WebSocket-Accept: " + base64.b64encode(key) + b"\r\n\r\n"


@dataclass
class Answer:
    """One answer as it came.

    Attributes:
        closed: whether the server closed the connection after it.
    """

    raw: bytes
    closed: bool
    head: bytes = field(init=False)
    body: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.head, _, self.body = self.raw.partition(b"\r\n\r\n")

    @property
    def status(self) -> int:
        return int(self.raw[9:12]) if self.raw.startswith(b"HTTP/1.") else 0

    @property
    def is_whole(self) -> bool:
        """Whether a client would take it for complete."""
        lowered = self.head.lower()
        if found := re.search(rb"\r\ncontent-length: *(\d+)", lowered):
            return len(self.body) == int(found[1])
        if b"transfer-encoding: chunked" in lowered:
            return self.body.endswith(b"0\r\n\r\n")
        return self.closed

    def value(self, name: bytes) -> bytes | None:
        found = re.search(rb"\r\n" + re.escape(name) + rb": *([^\r]*)", self.head, re.IGNORECASE)
        return found[1] if found else None


@dataclass
class Wire:
    """A server with the gateway behind it.

    Attributes:
        kind: `daphne` or `uvicorn`.
        pid: the server's process.
        port: where it listens.
        app: what is behind it.
    """

    kind: str
    pid: int
    port: int
    app: App

    def connect(self, seconds: float = 10) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)

    def talk(self, data: bytes, *, quiet: float = 0.5, seconds: float = 10) -> Answer:
        """Send `data` and read until the server closes, or has answered and then said nothing for `quiet` seconds."""
        with self.connect(seconds) as s:
            with contextlib.suppress(ConnectionError):
                s.sendall(data)
            return listen(s, quiet=quiet, seconds=seconds)

    def ask(
        self,
        target: str,
        method: str = "GET",
        headers: bytes = b"",
        body: bytes = b"",
        *,
        host: bytes = HOST,
        **options: float,
    ) -> Answer:
        head = f"{method} {target} HTTP/1.1\r\n".encode() + b"Host: " + host + b"\r\n" + headers + b"\r\n"
        return self.talk(head + body, **options)

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def peak_bytes(self) -> int:
        """The most memory that the server has had at once, since `forget_peak`."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


def listen(s: socket.socket, *, quiet: float = 0.5, seconds: float = 10) -> Answer:
    raw, closed, deadline = b"", False, time.monotonic() + seconds
    while not closed and time.monotonic() < deadline:
        s.settimeout(quiet if raw else max(0.01, deadline - time.monotonic()))
        try:
            data = s.recv(65536)
        except TimeoutError:
            break
        except ConnectionError:
            data = b""
        raw, closed = raw + data, not data
    return Answer(raw, closed)


@contextlib.contextmanager
def running(
    kind: str, folder: Path, *, behind: int | None = None, max_bytes: int = 4 * 1024**2, head_seconds: float = 2
) -> Iterator[Wire]:
    """A server of this kind.

    Args:
        kind: `daphne` or `uvicorn`.
        folder: PORTICO_DATA; its standard error goes to the file `stderr` there.
        behind: port of another app than `Wire.app`.
        max_bytes: PORTICO_MAX_FILE_BYTES.
        head_seconds: how long the app may take to answer.
    """
    app, port = App(), free_port()
    environment = {**os.environ, "PORTICO_DATA": str(folder), "PORTICO_SERVER": kind,
                   "PORTICO_MAX_FILE_BYTES": str(max_bytes)}  # fmt: skip
    argv = [sys.executable, "-c", SERVER, str(port), str(behind or app.port), str(head_seconds)]
    with (folder / "stderr").open("wb") as said:
        process = subprocess.Popen(argv, cwd=ROOT, env=environment, stderr=said)
    try:
        wait_until(lambda: process.poll() is not None or _answers(port), seconds=90)
        assert process.poll() is None, "the server ended"
        yield Wire(kind, process.pid, port, app)
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        app.close()


def _answers(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0
