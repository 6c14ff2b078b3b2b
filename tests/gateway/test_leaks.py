"""After hundreds of exchanges that ended badly, in every way there is, the server has open what it had before."""

from __future__ import annotations

import itertools
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from apps.gateway.workers import IDLE_SECONDS, SPARE_SOCKETS
from tests.gateway.wire import HOST, App, Wire, listen, running
from tests.waiting import wait_until

H = b"Host: " + HOST + b"\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
HANDSHAKE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ANSWERS: dict[str, list[object]] = {
    "half": [OK + b"Content-Length: 10\r\n\r\nhalf", App.CLOSE],
    "reset": [OK + b"Content-Length: 10\r\n\r\nhalf", App.RESET],
    "nothing": [App.CLOSE],
    "nonsense": [b"nonsense\r\n\r\n"],
    "early": ["early", b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"],
    "slow": [OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", 20.0],
    "silent": [20.0],
    "socket": [App.ACCEPT, b"\x81\x02ok", 20.0],
    "refused": [b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"],
    "broken-socket": [App.ACCEPT, b"\x83\x7f\xff", App.CLOSE],
}


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def wire(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    folder = tmp_path_factory.mktemp(request.param)
    with running(request.param, folder) as made:
        yield made
        said = (folder / "stderr").read_text()
        assert "Traceback" not in said and "gateway failed" not in said, said[-3000:]


def leave(wire: Wire, data: bytes, *, hear: bool = False, reset: bool = False) -> None:
    """Send, perhaps wait for the first of the answer, and go."""
    with wire.connect(20) as s:
        s.sendall(data)
        if hear:
            assert s.recv(4096)
        if reset:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def stay(wire: Wire, data: bytes) -> None:
    """Send and hear the answer to its end."""
    with wire.connect(20) as s:
        s.sendall(data)
        listen(s, quiet=0.1)


def get(path: str, host: bytes = HOST) -> bytes:
    return f"GET {path} HTTP/1.1\r\n".encode() + b"Host: " + host + b"\r\n"


ENDS: dict[str, Callable[[Wire], None]] = {
    "an upload that stops": lambda w: leave(
        w, b"POST /x HTTP/1.1\r\n" + H + b"Content-Length: 99999\r\n\r\n" + b"x" * 999
    ),
    "an upload reset": lambda w: leave(
        w, b"POST /x HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", reset=True
    ),
    "an upload that is refused": lambda w: stay(
        w, b"POST /early HTTP/1.1\r\n" + H + b"Content-Length: 99999\r\n\r\n" + b"x" * 99999
    ),
    "an upload that is too large": lambda w: leave(
        w, b"POST /x HTTP/1.1\r\n" + H + b"Content-Length: 99999999\r\n\r\n"
    ),
    "a request that is none": lambda w: stay(w, b"GET / HTTP/1.1\r\n" + H + H + b"\r\n"),
    "half a head": lambda w: leave(w, b"GET / HTTP/1.1\r\nHost: a"),
    "half an answer": lambda w: stay(w, get("/half") + b"\r\n"),
    "half an answer, reset": lambda w: stay(w, get("/reset") + b"\r\n"),
    "no answer": lambda w: stay(w, get("/nothing") + b"\r\n"),
    "no HTTP": lambda w: stay(w, get("/nonsense") + b"\r\n"),
    "a stream that is left": lambda w: leave(w, get("/slow") + b"\r\n", hear=True),
    "a stream under /run/ that is left": lambda w: leave(
        w, get("/run/ada/wire/slow", b"localhost") + b"\r\n", hear=True
    ),
    "a stream that is reset": lambda w: leave(w, get("/slow") + b"\r\n", hear=True, reset=True),
    "an answer nobody waits for": lambda w: leave(w, get("/silent") + b"\r\n"),
    "a websocket that is dropped": lambda w: leave(w, get("/socket") + HANDSHAKE, hear=True),
    "a websocket that is reset": lambda w: leave(w, get("/socket") + HANDSHAKE, hear=True, reset=True),
    "a websocket nobody waits for": lambda w: leave(w, get("/silent") + HANDSHAKE),
    "a websocket that is refused": lambda w: stay(w, get("/refused") + HANDSHAKE),
    "a websocket that speaks nonsense": lambda w: stay(w, get("/broken-socket") + HANDSHAKE),
    "a wake that fails": lambda w: stay(w, get("/", b"ada-asleep.spaces.localhost") + b"\r\n"),
    "a wake nobody waits for": lambda w: leave(w, get("/", b"ada-asleep.spaces.localhost") + b"\r\n"),
    "a websocket to what does not wake": lambda w: stay(w, get("/", b"ada-asleep.spaces.localhost") + HANDSHAKE),
    "a worker that is gone": lambda w: stay(w, get("/", b"ada-gone.spaces.localhost") + b"\r\n"),
    "a websocket to a worker that is gone": lambda w: stay(w, get("/", b"ada-gone.spaces.localhost") + HANDSHAKE),
    "a Space that is none": lambda w: stay(w, get("/", b"nobody.spaces.localhost") + b"\r\n"),
}


def test_nothing_stays_open_whatever_happens(wire: Wire) -> None:
    wire.app.answers |= ANSWERS
    for end in ENDS.values():  # what is opened once and kept is open before
        end(wire)
    wait_until(lambda: is_settled(wire), seconds=60)
    before = wire.descriptors()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda end: end(wire), itertools.islice(itertools.cycle(ENDS.values()), 250)))
    wait_until(
        lambda: wire.ask("/fine").status == 200 and wire.descriptors() <= before + SPARE_SOCKETS,
        seconds=30,
        what=lambda: f"{before} -> {wire.descriptors()}",
    )


def is_settled(wire: Wire) -> bool:
    """Whether nothing more is closed: no fewer descriptors are open some seconds later. Each request also lets go of
    what has been idle for long."""
    wire.ask("/fine")
    first = wire.descriptors()
    time.sleep(IDLE_SECONDS + 2)
    return wire.ask("/fine").status == 200 and wire.descriptors() >= first
