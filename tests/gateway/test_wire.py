"""What passes on the wire, byte for byte, under each web server: RFC 9110, 9112 and what attackers make of them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.gateway.wire import HOST, App, Wire, listen, running
from tests.waiting import wait_for_rest, wait_until

OK = b"HTTP/1.1 200 OK\r\n"
H = b"Host: " + HOST + b"\r\n"


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def wire(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    folder = tmp_path_factory.mktemp(request.param)
    with running(request.param, folder) as made:
        made.ask("/warm")
        yield made
        said = (folder / "stderr").read_text()
        assert "Traceback" not in said and "gateway failed" not in said, said[-3000:]


@pytest.fixture(autouse=True)
def forget(wire: Wire) -> None:
    wire.app.requests.clear()
    wire.app.answers.clear()
    wire.app.gone = 0


# What a client may send that two parsers could read differently (RFC 9112, section 11.2, and the known attacks). Each
# carries a second request for /smuggled, which must never reach the app.

SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + H + b"\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
AMBIGUOUS = {
    "length and chunked": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "chunked and length": b"POST / HTTP/1.1\r\n" + H + CHUNKED + b"Content-Length: 6\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
    "the same length twice": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 5, 5\r\n\r\nhello",
    "a signed length": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: +5\r\n\r\nhello",
    "a negative length": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: -5\r\n\r\nhello",
    "a hexadecimal length": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 0x5\r\n\r\nhello",
    "a length with a space in it": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 5 5\r\n\r\nhello",
    "an empty length": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: \r\n\r\n",
    "a length beyond numbers": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 99999999999999999999\r\n\r\n",
    "a space before the colon": b"POST / HTTP/1.1\r\n" + H + b"Content-Length : 5\r\n\r\nhello",
    "a coding with a space before its colon": b"POST / HTTP/1.1\r\n"
    + H
    + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a coding nobody knows": b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked and another": b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "another and chunked": b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\n" + H + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "chunked behind a vertical tab": b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a chunk size that is signed": b"POST / HTTP/1.1\r\n" + H + CHUNKED + b"\r\n+0\r\n\r\n",
    "a chunk size with 0x": b"POST / HTTP/1.1\r\n" + H + CHUNKED + b"\r\n0x0\r\n\r\n",
    "a chunk longer than it says": b"POST / HTTP/1.1\r\n" + H + CHUNKED + b"\r\n2\r\nhello\r\n0\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + H + b"Host: other.spaces.localhost\r\n\r\n",
    "a name that is no token": b"GET / HTTP/1.1\r\n" + H + b"X(y): 1\r\n\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\n" + H + b": 1\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\n" + H + b"X\r\n\r\n",
    "a zero byte in a value": b"GET / HTTP/1.1\r\n" + H + b"X: a\x00b\r\n\r\n",
    "a bare CR in a value": b"GET / HTTP/1.1\r\n" + H + b"X: a\rY: b\r\n\r\n",
    "a space in the target": b"GET / x HTTP/1.1\r\n" + H + b"\r\n",
    "a control character in the target": b"GET /\x01 HTTP/1.1\r\n" + H + b"\r\n",
    "a byte that is not ASCII in the target": b"GET /\xc3\xa4 HTTP/1.1\r\n" + H + b"\r\n",
    "no version": b"GET /\r\n" + H + b"\r\n",
    "a version of the future": b"GET / HTTP/3.0\r\n" + H + b"\r\n",
    "a method that is no token": b"G(T / HTTP/1.1\r\n" + H + b"\r\n",
    "HTTP/2 without an upgrade": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\n" + H + b"\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_two_parsers_may_read_differently_is_refused_whole(wire: Wire, name: str) -> None:
    answer = wire.talk(AMBIGUOUS[name] + SMUGGLED, quiet=0.3, seconds=5)
    assert not any(b"/smuggled" in head for head in wire.app.requests)
    assert not any(is_complete(got) for got in wire.app.requests)
    assert answer.status == 413 or (answer.closed and answer.status in (0, 400, 404, 405, 501, 505))
    assert answer.raw.count(b"HTTP/1.1 200") == 0


def is_complete(request: bytes) -> bool:
    """Not where a body broke off behind a head that was in order."""
    return b"chunked" not in request or request.endswith(b"\r\n0\r\n\r\n")


LOOSE = {
    "lines that end with LF": b"GET /kept HTTP/1.1\nHost: " + HOST + b"\n\n",
    "an empty line before the request": b"\r\nGET /kept HTTP/1.1\r\n" + H + b"\r\n",
    "an absolute target": b"GET http://" + HOST + b"/kept HTTP/1.1\r\n" + H + b"\r\n",
    "an absolute target of somebody else": b"GET http://evil.example/kept HTTP/1.1\r\n" + H + b"\r\n",
    "extensions of chunks": b"POST /kept HTTP/1.1\r\n" + H + CHUNKED + b"\r\n2;a=b\r\nok\r\n0\r\n\r\n",
    "trailers": b"POST /kept HTTP/1.1\r\n" + H + CHUNKED + b"\r\n2\r\nok\r\n0\r\nX-Evil: 1\r\nHost: evil\r\n\r\n",
    "HTTP/1.0": b"GET /kept HTTP/1.0\r\n" + H + b"\r\n",
    "no host": b"GET /kept HTTP/1.1\r\n\r\n",
    "a folded header": b"GET /kept HTTP/1.1\r\n" + H + b"X-Folded: a\r\n b\r\n\r\n",
    "chunked on a folded line": b"POST /kept HTTP/1.1\r\n" + H + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "another protocol": b"GET /kept RTSP/1.1\r\n" + H + b"\r\n",
}


@pytest.mark.parametrize("name", LOOSE)
def test_what_is_passed_on_is_written_anew(wire: Wire, name: str) -> None:
    """Refused or understood in one way; never handed on as it came."""
    kept = b"/kept-%d" % list(LOOSE).index(name)  # what the test before it sent may arrive late
    answer = wire.talk(LOOSE[name].replace(b"/kept", kept), quiet=0.3, seconds=5)
    passed_on = [request for request in wire.app.requests if kept + b" " in request]
    if not passed_on:
        assert answer.status in (0, 400, 404, 505)
        return
    (got,) = passed_on
    assert got.split(b"\r\n")[0] in (b"GET %b HTTP/1.1" % kept, b"POST %b HTTP/1.1" % kept)
    assert got.lower().count(b"\r\nhost: ") == 1 and b"\r\nHost: " + HOST + b"\r\n" in got
    assert b"evil" not in got and b"a=b" not in got and b"\n" not in got.replace(b"\r\n", b"")
    assert answer.status == 200


def test_several_requests_on_one_connection_are_answered_in_their_order(wire: Wire) -> None:
    wire.app.answers |= {
        "first": [0.3, OK + b"Content-Length: 5\r\n\r\nfirst"],
        "second": [OK + b"Content-Length: 6\r\n\r\nsecond"],
    }
    answer = wire.talk(b"".join(b"GET /%b HTTP/1.1\r\n%b\r\n" % (name, H) for name in (b"first", b"second")))
    assert answer.raw.index(b"\r\n\r\nfirst") < answer.raw.index(b"\r\n\r\nsecond")


def test_what_belongs_to_one_hop_stays_there(wire: Wire) -> None:
    headers = (
        b"Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Authorization: x\r\n"
        b"Proxy-Connection: close\r\nTrailer: X\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nX-Kept: 1\r\n"
    )
    wire.ask("/", headers=headers)
    got = wire.app.requests[0].lower()
    for name in (b"connection", b"x-hop", b"keep-alive", b"te", b"proxy-authorization", b"trailer", b"upgrade"):
        assert b"\r\n" + name + b": " not in got
    assert b"\r\nx-kept: 1\r\n" in got


def test_a_length_named_by_connection_is_not_taken_away(wire: Wire) -> None:
    """Without it the body would be the app's next request."""
    body = SMUGGLED
    headers = b"Connection: content-length\r\nContent-Length: %d\r\n" % len(body)
    wire.ask("/", "POST", headers, body)
    (got,) = wire.app.requests
    assert b"content-length: %d\r\n" % len(body) in got.lower() and got.endswith(body)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "SEARCH"])
def test_methods_pass(wire: Wire, method: str) -> None:
    assert wire.ask("/x?y=%2F", method, b"Content-Length: 0\r\n").status == 200
    assert wire.app.requests[0].startswith(f"{method} /x?y=%2F HTTP/1.1\r\n".encode())


def test_a_client_that_expects_100_hears_it_and_the_app_does_not(wire: Wire) -> None:
    with wire.connect() as s:
        s.sendall(b"POST /x HTTP/1.1\r\n" + H + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"ok")
        assert listen(s).status == 200
    assert b"expect" not in wire.app.requests[0].lower()


def test_a_client_that_expects_100_hears_a_refusal_at_once(wire: Wire) -> None:
    expecting = b"Expect: 100-continue\r\nContent-Length: 5\r\n"
    answer = wire.ask("/x", "POST", expecting, host=b"nobody.spaces.localhost")
    # Twisted, below Daphne, says 100 before anybody is asked.
    assert answer.raw.startswith(b"HTTP/1.1 404" if wire.kind == "uvicorn" else b"HTTP/1.1 100")
    assert not wire.app.requests


# What an app may answer


HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
WHOLE = {
    "a length": (OK + b"Content-Length: 2\r\n\r\nok", b"ok"),
    "chunks": (OK + CHUNKED + b"\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", b"ok"),
    "trailers": (OK + CHUNKED + b"Trailer: X-T\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\nSet-Cookie: a=b\r\n\r\n", b"ok"),
    "a hint before the answer": (HINT + OK + b"Content-Length: 2\r\n\r\nok", b"ok"),
    "a body until the connection ends": (OK + b"\r\nok", b"ok"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nok", b"ok"),
    "a status without a reason": (b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", b"ok"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_passes_however_it_is_framed(wire: Wire, name: str) -> None:
    raw, body = WHOLE[name]
    wire.app.answers["x"] = [raw, App.CLOSE]
    answer = wire.ask("/x")
    assert answer.status == 200 and answer.is_whole
    assert body in answer.body and b"x-t" not in answer.raw.lower() and b"set-cookie" not in answer.raw.lower()
    assert answer.raw.count(b"HTTP/1.1") == 1


BROKEN = {
    "shorter than its length": [OK + b"Content-Length: 10\r\n\r\nhalf", App.CLOSE],
    "without its last chunk": [OK + CHUNKED + b"\r\n4\r\nhalf\r\n", App.CLOSE],
    "in the middle of a chunk": [OK + CHUNKED + b"\r\n10\r\nhalf", App.CLOSE],
    "reset": [OK + b"Content-Length: 10\r\n\r\nhalf", 0.2, App.RESET],
    "with a chunk that is none": [OK + CHUNKED + b"\r\n4\r\nhalf\r\nzz\r\n"],
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_breaks_off_does_not_look_complete(wire: Wire, name: str) -> None:
    wire.app.answers["x"] = BROKEN[name]
    answer = wire.ask("/x", seconds=5)
    assert answer.status == 502 or (answer.closed and (not answer.raw or not answer.is_whole))


NO_ANSWERS = {
    "nothing": [App.CLOSE],
    "no HTTP": [b"hello\r\n\r\n", App.CLOSE],
    "half a head": [OK + b"X: ", App.CLOSE],
    "two lengths": [OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!"],
    "length and chunked": [OK + b"Content-Length: 2\r\n" + CHUNKED + b"\r\n0\r\n\r\n"],
    "a coding that cannot be followed": [OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
    "a bare CR in a value": [OK + b"X: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"],
    "a zero byte in a value": [OK + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n"],
    "a space in a name": [OK + b"X Y: 1\r\nContent-Length: 0\r\n\r\n"],
    "a head without an end": [OK + b"X: " + b"y" * 100_000],
    "thousands of headers": [OK + b"X: y\r\n" * 3000 + b"Content-Length: 0\r\n\r\n"],
    "answers before the answer, and no end": [b"HTTP/1.1 100 Continue\r\n\r\n" * 100],
    "another protocol": [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhello"],
    "a status that is none": [b"HTTP/1.1 99999 OK\r\nContent-Length: 0\r\n\r\n"],
    "a status of no class": [b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n"],
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_is_no_answer_is_a_bad_gateway(wire: Wire, name: str) -> None:
    wire.app.answers["x"] = NO_ANSWERS[name]
    answer = wire.ask("/x", "POST", b"Content-Length: 0\r\n", seconds=8)
    assert answer.status == 502 and b'"bad_gateway"' in answer.body
    assert b"set-cookie" not in answer.raw.lower()
    assert wire.ask("/fine").status == 200


def test_an_answer_that_does_not_begin_is_a_timeout(wire: Wire) -> None:
    wire.app.answers["x"] = [10.0]
    answer = wire.ask("/x", seconds=8)
    assert answer.status == 504
    wait_until(lambda: wire.app.gone == 1, seconds=10)


@pytest.mark.parametrize("prefix", ["", "/run/ada/wire"])
@pytest.mark.parametrize(
    ("status", "method"), [(204, "GET"), (304, "GET"), (304, "HEAD"), (200, "HEAD"), (404, "HEAD"), (204, "POST")]
)
def test_answers_without_a_body(wire: Wire, status: int, method: str, prefix: str) -> None:
    """The connection stays open after them, whatever length the app names."""
    wire.app.answers["x"] = [b'HTTP/1.1 %d X\r\nContent-Length: 5\r\nETag: "x"\r\n\r\n' % status]
    headers = b"Content-Length: 0\r\n" if method == "POST" else b""
    for _ in range(2):
        answer = wire.ask(f"{prefix}/x", method, headers, host=b"localhost" if prefix else HOST)
        assert answer.status == status and answer.body == b"" and answer.value(b"etag") == b'"x"'
        assert not answer.closed
        assert answer.value(b"content-length") in ((None, b"0") if status in (204, 304) else (b"5",))


def test_garbage_behind_an_answer_is_nobodys_answer(wire: Wire) -> None:
    """An app that goes on talking must not put its words into the next visitor's mouth."""
    wire.app.answers["x"] = [OK + b"Content-Length: 2\r\n\r\nok", 0.2, OK + b"Content-Length: 6\r\n\r\nforged"]
    assert wire.ask("/x").body == b"ok"
    time.sleep(0.3)
    for _ in range(3):
        assert b"forged" not in wire.ask("/next").raw


RANGES = {
    "one": (b"Range: bytes=2-4\r\n", b"Content-Range: bytes 2-4/9\r\n", b"206"),
    "one, if it is the same": (b'Range: bytes=2-4\r\nIf-Range: "x"\r\n', b"Content-Range: bytes 2-4/9\r\n", b"206"),
    "none that is there": (b"Range: bytes=99-\r\n", b"Content-Range: bytes */9\r\n", b"416"),
}


@pytest.mark.parametrize("prefix", ["", "/run/ada/wire"])
@pytest.mark.parametrize("name", RANGES)
def test_ranges_are_the_apps_to_answer(wire: Wire, name: str, prefix: str) -> None:
    asked, told, status = RANGES[name]
    wire.app.answers["x"] = [
        b"HTTP/1.1 " + status + b" X\r\nContent-Length: 3\r\nAccept-Ranges: bytes\r\n" + told + b"\r\nabc"
    ]
    answer = wire.ask(f"{prefix}/x", headers=asked, host=b"localhost" if prefix else HOST)
    assert asked.lower() in wire.app.requests[0].lower()
    assert answer.status == int(status) and answer.body == b"abc"
    assert told.lower() in answer.head.lower() + b"\r\n" and answer.value(b"accept-ranges") == b"bytes"


def test_several_ranges_are_asked_for_where_their_parts_can_be_told_apart(wire: Wire) -> None:
    wire.ask("/x", headers=b"Range: bytes=0-1,3-4\r\n")
    wire.ask("/run/ada/wire/x", headers=b"Range: bytes=0-1,3-4\r\n", host=b"localhost")
    on_the_host, on_the_portal = (got.lower() for got in wire.app.requests)
    assert b"\r\nrange: bytes=0-1,3-4\r\n" in on_the_host and b"\r\nrange:" not in on_the_portal


def test_the_first_event_arrives_while_the_app_holds_the_next(wire: Wire) -> None:
    head = OK + b"Content-Type: text/event-stream\r\n" + CHUNKED + b"\r\n"
    wire.app.answers["x"] = [head + b"9\r\ndata: 1\n\n\r\n", 5.0]
    with wire.connect() as s:
        s.sendall(b"GET /x HTTP/1.1\r\n" + H + b"\r\n")
        began, got = time.monotonic(), b""
        while b"data: 1" not in got:
            got += s.recv(65536)
        assert time.monotonic() - began < 4
    wait_until(lambda: wire.app.gone == 1, seconds=4)


def test_a_worker_that_dies_before_it_answers_is_asked_once_more_if_that_is_safe(wire: Wire) -> None:
    wire.app.answers["x"] = [App.CLOSE]
    assert wire.ask("/x").status == 502
    assert len(wire.app.requests) == 2
    wire.app.requests.clear()
    assert wire.ask("/x", "POST", b"Content-Length: 0\r\n").status == 502
    assert len(wire.app.requests) == 1
    wire.app.requests.clear()
    assert wire.ask("/x", "PUT", b"Content-Length: 2\r\n", b"ok").status == 502
    assert [got.rpartition(b"\r\n\r\n")[2] for got in wire.app.requests] == [b"ok", b"ok"], "it came in one piece"
    wire.app.requests.clear()
    assert wire.ask("/x", "PUT", CHUNKED, b"2\r\nok\r\n0\r\n\r\n").status == 502
    assert len(wire.app.requests) == 1, "what was passed on as it came cannot be sent again"


def test_an_answer_before_the_body_has_come_is_passed_on(wire: Wire) -> None:
    wire.app.answers["x"] = [
        "early",
        b"HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
        1,
        App.CLOSE,
    ]
    body = b"x" * 2_000_000
    answer = wire.ask("/x", "POST", b"Content-Length: %d\r\n" % len(body), body)
    assert answer.status == 403


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_refused(wire: Wire, declared: bool) -> None:
    size = 5 * 1024**2
    if declared:
        answer = wire.ask("/x", "POST", b"Content-Length: %d\r\n" % size, b"x" * size, quiet=1)
    else:
        answer = wire.ask("/x", "POST", CHUNKED, (b"%x\r\n" % size) + b"x" * size + b"\r\n0\r\n\r\n", quiet=1)
    assert answer.status == 413 and b"too_large" in answer.body


def test_an_upload_reaches_the_app_while_it_is_sent(wire: Wire) -> None:
    if wire.kind == "daphne":
        return  # reads a body to its end first: docs/decisions/0006-web-server.md
    with wire.connect() as s:
        s.sendall(b"POST /x HTTP/1.1\r\n" + H + b"Content-Length: 10\r\n\r\nhello")
        wait_until(lambda: wire.app.requests, seconds=5)
        s.sendall(b"world")
        assert listen(s).body.endswith(b"helloworld")


def test_an_upload_that_takes_long_is_no_late_answer(wire: Wire) -> None:
    """The app's answer may begin two seconds after the last of the body."""
    wire.app.answers["x"] = [1, OK + b"Content-Length: 2\r\n\r\nok"]
    with wire.connect() as s:
        s.sendall(b"POST /x HTTP/1.1\r\n" + H + b"Content-Length: 8\r\n\r\n")
        for _ in range(8):
            time.sleep(0.5)
            s.sendall(b"x")
        assert listen(s).status == 200


def test_a_client_that_takes_nothing_stops_the_app_and_is_let_go(wire: Wire) -> None:
    """The app is slowed down instead of filling memory; under uvicorn the client is left after a while."""
    sent = 0
    piece = b"x" * 65536

    class Counting(list[object]):
        def __iter__(self) -> Iterator[object]:
            nonlocal sent
            yield OK + b"Content-Length: %d\r\n\r\n" % (1000 * len(piece))
            for _ in range(1000):
                sent += 1
                yield piece

    wire.app.answers["x"] = Counting([1])
    with wire.connect() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(b"GET /x HTTP/1.1\r\n" + H + b"\r\n")
        wait_for_rest(lambda: sent)
        assert sent < 500
        if wire.kind == "uvicorn":
            wait_until(lambda: wire.app.gone == 1, seconds=10)


SLOW = {
    "half a head": (b"GET / HTTP/1.1\r\nHost:", b""),
    "a head byte by byte": (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
    "half a body": (b"POST /x HTTP/1.1\r\n" + H + b"Content-Length: 10\r\n\r\nhello", b""),
    "nothing": (b"", b""),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_client_that_sends_too_slowly_is_left(wire: Wire, name: str) -> None:
    if wire.kind == "daphne":
        return  # Twisted's own minute: too long for a test
    beginning, drip = SLOW[name]
    with wire.connect(5) as s:
        s.sendall(beginning)
        began = time.monotonic()
        ended = threading.Event()

        def read() -> None:
            try:
                while s.recv(4096):
                    pass
            except OSError:
                pass
            ended.set()

        threading.Thread(target=read, daemon=True).start()
        while not ended.wait(0.2) and time.monotonic() - began < 4:
            if drip:
                try:
                    s.sendall(drip)
                except OSError:
                    break
        assert ended.wait(1)


def test_nothing_is_left_open(wire: Wire) -> None:
    """After all of the above, and a hundred clients that go in the middle."""
    wire.app.answers["x"] = [OK + b"Content-Length: 10\r\n\r\nhalf", 5.0]
    before = wire.descriptors()
    for _ in range(100):
        with wire.connect() as s:
            s.sendall(b"GET /x HTTP/1.1\r\n" + H + b"\r\n")
            s.recv(100)
    wait_until(lambda: wire.descriptors() <= before + 8, seconds=15, what=lambda: f"{before} -> {wire.descriptors()}")
    assert wire.ask("/fine").status == 200
