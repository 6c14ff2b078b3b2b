"""Large uploads through each web server and the gateway: as much memory as for small ones."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from portal.bounds import LINGER_SECONDS
from tests.gateway.wire import HOST, Wire, listen, running
from tests.waiting import wait_for_rest

MIB = 1024**2
SIZE = 64 * MIB


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def wire(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    folder = tmp_path_factory.mktemp(request.param)
    with running(request.param, folder, max_bytes=200 * MIB, head_seconds=60) as made:
        made.ask("/warm", "POST", b"Content-Length: 5\r\n", b"hello")
        yield made
        assert "Traceback" not in (folder / "stderr").read_text()


@pytest.mark.parametrize(("prefix", "chunked"), [("", True), ("/run/ada/wire", False)])
def test_an_upload_of_64_mib_takes_no_memory(wire: Wire, prefix: str, chunked: bool) -> None:
    wire.app.requests.clear()
    wire.app.answers["x"] = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]
    wire.forget_peak()
    before = wire.peak_bytes()
    piece, framing = bytes(MIB), b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % SIZE
    host = b"localhost" if prefix else HOST
    with wire.connect(60) as s:
        s.sendall(b"POST %b/x HTTP/1.1\r\nHost: %b\r\n%b\r\n\r\n" % (prefix.encode(), host, framing))
        for _ in range(SIZE // MIB):
            s.sendall(b"%x\r\n%b\r\n" % (MIB, piece) if chunked else piece)
        s.sendall(b"0\r\n\r\n" if chunked else b"")
        assert listen(s, seconds=60).status == 200
    _, _, body = wire.app.requests[0].partition(b"\r\n\r\n")
    assert body.count(b"\0") == SIZE
    assert wire.peak_bytes() - before < 16 * MIB


def test_after_an_answer_before_the_end_of_the_body_the_connection_goes_on(wire: Wire) -> None:
    """A front server sends the next visitor's request into it. Daphne has the whole body before it answers."""
    wire.app.answers["x"] = [
        "early",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        wire.app.CLOSE,
    ]
    head = b"POST /x HTTP/1.1\r\nHost: " + HOST + b"\r\nContent-Length: 10\r\n\r\n"
    for expects in (b"", b"Expect: 100-continue\r\n"):
        with wire.connect(10) as s:
            s.sendall(head.replace(b"Content-", expects + b"Content-") + b"half!")
            if wire.kind == "daphne":
                s.sendall(b"half!")
            assert s.recv(4096).count(b" 200 ") == 1 or s.recv(4096).count(b" 200 ") == 1
            if wire.kind == "uvicorn":
                s.sendall(b"half!")
            s.sendall(b"GET /next HTTP/1.1\r\nHost: " + HOST + b"\r\n\r\n")
            assert (listen(s, seconds=10).status == 200) == (not expects or wire.kind == "daphne")


def test_a_slow_upload_behind_another_request_is_not_cut_off(wire: Wire) -> None:
    """The answer to the one before it comes while its own body does (pipelining, RFC 9112, section 9.3.2)."""
    get = b"GET /before HTTP/1.1\r\nHost: " + HOST + b"\r\n\r\n"
    head = b"POST /after HTTP/1.1\r\nHost: " + HOST + b"\r\nContent-Length: 20\r\n\r\n"
    with wire.connect(20) as s:
        s.sendall(get + head + b"0")
        assert b"GET /before" in listen(s).body
        for _ in range(19):
            time.sleep(LINGER_SECONDS / 15)
            s.sendall(b"0")
        answer = listen(s)
    assert answer.status == 200 and answer.body.endswith(b"0" * 20)


def test_an_app_that_does_not_read_stops_its_client(wire: Wire) -> None:
    """Daphne takes the whole of it to the disk first, uvicorn leaves it with the client."""
    may_answer = threading.Event()

    class Early(list[object]):
        def __iter__(self) -> Iterator[object]:
            may_answer.wait(30)
            yield b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

    wire.app.answers["x"] = Early(["early"])
    wire.forget_peak()
    before, sent, size = wire.peak_bytes(), 0, 2 * SIZE  # more than the kernel's buffers take

    def send(s: socket.socket) -> None:
        nonlocal sent
        try:
            while sent < size:
                sent += s.send(bytes(65536))
        except OSError:
            pass

    with wire.connect(30) as s:
        s.sendall(b"POST /x HTTP/1.1\r\nHost: " + HOST + b"\r\nContent-Length: %d\r\n\r\n" % size)
        sender = threading.Thread(target=send, args=(s,))
        sender.start()
        wait_for_rest(lambda: sent)
        if wire.kind == "uvicorn":
            assert sent < size, "all that was sent waits in the sockets"
        may_answer.set()
        assert listen(s, seconds=10).status == 200
    sender.join(10)
    assert wire.peak_bytes() - before < 16 * MIB
