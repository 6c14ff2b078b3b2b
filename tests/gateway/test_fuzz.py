"""Anything that a client or an app can send, made up by hypothesis: nothing crashes, hangs or stays open.

PORTICO_FUZZ_EXAMPLES says how many of each are tried (60).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.wire import HOST, App, Wire, listen, running
from tests.waiting import wait_until

fuzz = settings(
    max_examples=int(os.environ.get("PORTICO_FUZZ_EXAMPLES", "60")),
    deadline=None,
    derandomize="PORTICO_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def wire(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    folder = tmp_path_factory.mktemp(request.param)
    with running(request.param, folder) as made:
        made.ask("/warm")
        before = made.descriptors()
        yield made
        wait_until(lambda: made.descriptors() <= before + 16, seconds=20, what=lambda: f"{made.descriptors()} open")
        said = (folder / "stderr").read_text()
        assert "Traceback" not in said and "gateway failed" not in said, said[-3000:]


# A request in pieces, each of which may be what it should be or nearly anything.

odd = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"", b"\x00", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\xff", b"%00", b"..", b"//", b":", b"0", b"-1"]
    ),
    st.text("ab/%.?#&=;: \t\"'<>@\\", max_size=30).map(str.encode),
)
method = st.one_of(st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"DELETE", b"TRACE"]), odd)
target = st.one_of(
    st.sampled_from(
        [b"/", b"*", b"/run/ada/wire/x", b"/run/ada/wire", b"/run/", b"/run//", b"/?__sign=x", b"/.portico/ready"]
    ),
    st.lists(odd, max_size=4).map(lambda parts: b"/" + b"/".join(parts)),
    odd,
)
version = st.one_of(st.just(b"HTTP/1.1"), st.sampled_from([b"HTTP/1.0", b"HTTP/2", b"HTTP/1.2"]), odd)
host = st.one_of(
    st.just(HOST), st.sampled_from([b"localhost", b".", b"a.b.c:", b"[::1]", b"ADA-WIRE.spaces.localhost."]), odd
)
name = st.one_of(
    st.sampled_from(
        b"Cookie Connection Content-Length Transfer-Encoding Expect Upgrade Origin Range Accept Authorization "
        b"X-Forwarded-For Sec-Fetch-Mode Sec-Fetch-Dest Sec-Fetch-Storage-Access Sec-WebSocket-Key If-None-Match "
        b"Access-Control-Request-Method Access-Control-Request-Headers Forwarded X-Accel-Redirect".split()
    ),
    odd,
)
value = st.one_of(
    st.sampled_from(
        [b"chunked", b"keep-alive", b"close", b"100-continue", b"websocket", b"h2c", b"null", b"https://a.example",
         b"bytes=0-", b"bytes=-", b"a=b; portico_access=x", b"Bearer hf_x", b"Basic ===", b"navigate", b"iframe", b"5"]
    ),
    odd,
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    lines = [b" ".join((draw(method), draw(target), draw(version))), b"Host: " + draw(host)]
    lines += [b"%b: %b" % (draw(name), draw(value)) for _ in range(draw(st.integers(0, 5)))]
    ending = draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"]))
    raw = ending.join(lines) + ending * 2 + draw(odd)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, max(0, len(raw) - 1)))
        raw = raw[:place] + draw(odd) + raw[place + draw(st.integers(0, 3)) :]
    return raw


LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ /[\x21-\x7e]* HTTP/1\.1")


@fuzz
@given(raw=requests())
def test_whatever_a_client_sends(wire: Wire, raw: bytes) -> None:
    wire.app.requests.clear()
    answer = wire.talk(raw, quiet=0.02, seconds=0.4)
    assert answer.status != 500 or not wire.app.requests
    for got in wire.app.requests:
        head, _, _ = got.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        assert LINE.fullmatch(line)
        assert b"\r" not in head.replace(b"\r\n", b"") and b"\n" not in head.replace(b"\r\n", b"") and b"\0" not in head
        names = [field.partition(b":")[0].lower() for field in fields]
        assert names.count(b"host") == 1 and names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
        assert not {b"expect", b"upgrade", b"forwarded", b"x-accel-redirect"} & set(names)
        assert b"portico_access" not in head


# An answer likewise.

status_line = st.one_of(
    st.sampled_from(
        [b"HTTP/1.1 200 OK", b"HTTP/1.1 204 No", b"HTTP/1.1 304 No", b"HTTP/1.1 103 X", b"HTTP/1.0 200 OK"]
    ),
    st.integers(0, 1000).map(lambda code: b"HTTP/1.1 %d X" % code),
    odd,
)
answer_name = st.one_of(
    st.sampled_from(
        b"Content-Length Transfer-Encoding Connection Set-Cookie Location Content-Type Content-Encoding Vary Trailer "
        b"X-Accel-Redirect Access-Control-Allow-Origin Content-Security-Policy Upgrade Strict-Transport-Security "
        b"Content-Disposition Refresh Link".split()
    ),
    odd,
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    lines = [draw(status_line)]
    lines += [b"%b: %b" % (draw(answer_name), draw(value)) for _ in range(draw(st.integers(0, 5)))]
    raw = (
        b"\r\n".join(lines) + b"\r\n\r\n" + draw(st.one_of(odd, st.just(b"5\r\nhello\r\n0\r\n\r\n"), st.just(b"hello")))
    )
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, max(0, len(raw) - 1)))
        raw = raw[:place] + draw(odd) + raw[place + draw(st.integers(0, 3)) :]
    return raw


@fuzz
@given(raw=answers(), verb=st.sampled_from(["GET", "HEAD", "POST"]), prefix=st.sampled_from(["", "/run/ada/wire"]))
def test_whatever_an_app_answers(wire: Wire, raw: bytes, verb: str, prefix: str) -> None:
    wire.app.answers["fuzz"] = [raw, App.CLOSE]
    host = b"localhost" if prefix else HOST
    answer = wire.ask(f"{prefix}/fuzz", verb, b"Content-Length: 0\r\n", host=host, quiet=0.02, seconds=5)
    assert answer.closed or answer.status, "it hangs"
    assert answer.status != 500 or raw.startswith(b"HTTP/1.1 500")
    lowered = answer.head.lower()
    for ours in (b"x-accel-redirect", b"strict-transport-security", b"access-control-allow-origin", b"trailer"):
        assert b"\r\n" + ours + b":" not in lowered
    if prefix and answer.status:
        assert b"\r\nset-cookie:" not in lowered and b"\r\nx-content-type-options: nosniff" in lowered
    wire.app.answers.clear()
    assert wire.ask("/fine", quiet=0.02).status == 200, "the next visitor's answer is another one's"


HANDSHAKE = (
    b"GET /socket HTTP/1.1\r\nHost: " + HOST + b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
frames = st.lists(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda first, data: bytes((first, 0x80 | min(len(data), 125), 0, 0, 0, 0)) + data[:125],
            st.integers(0, 255), st.binary(max_size=125),
        ),
        st.sampled_from([b"\x81\xfe\xff\xff", b"\x81\xff" + b"\xff" * 8, b"\x88\x80" + bytes(4), b"\x01\x80\0\0" * 20]),
    ),
    max_size=5,
).map(b"".join)  # fmt: skip


@fuzz
@given(up=frames, down=st.binary(max_size=200))
def test_whatever_comes_over_a_websocket(wire: Wire, up: bytes, down: bytes) -> None:
    """The app's key differs from the client's, so that its handshake is refused too in some of these."""
    wire.app.answers["socket"] = [ACCEPTED, down, 0.05, App.CLOSE]
    with wire.connect() as s:
        s.sendall(HANDSHAKE)
        listen(s, quiet=0.05, seconds=2)
        try:
            s.sendall(up)
        except OSError:
            return
        listen(s, quiet=0.02, seconds=2)
    assert wire.ask("/fine", quiet=0.02).status == 200
