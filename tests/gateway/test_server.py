"""Each web server's own bounds, on a real server in a process of its own with a small application behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.running_portal import ROOT, free_port
from tests.waiting import wait_until

APPLICATION = """
import asyncio, json, os, resource, sys
import django
os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"
django.setup()
from django.core.handlers.asgi import ASGIHandler
from apps.gateway.proxy import BrokenAnswer
from portal.server import server

async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        if scope["path"] == "/slow":
            await asyncio.sleep(3)
        while (message := await receive())["type"] != "websocket.disconnect":
            if message.get("text") == "bye":
                await send({"type": "websocket.close", "code": 1001, "reason": "away"})
            else:
                await send({"type": "websocket.send", "bytes": message.get("bytes"), "text": message.get("text")})
        return
    if scope["path"].startswith("/uploads/"):
        with await ASGIHandler().read_body(receive) as body:
            size = body.seek(0, 2)
    else:
        size = 0
        while (message := await receive())["type"] == "http.request":
            size += len(message["body"])
            if not message["more_body"]:
                break
    open(os.environ["ASKED"], "a").write(scope["path"] + "\\n")
    said = {"size": size, "client": scope["client"][0], "scheme": scope["scheme"], "root": scope["root_path"],
            "headers": sorted(k.decode() for k, _ in scope["headers"]),
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    if scope["path"] == "/endless":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"x/y")]})
        sent = 0
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            sent += 65536
            open(os.environ["SENT"], "w").write(str(sent))
    body = json.dumps(said).encode()
    length = [] if scope["path"] == "/break" else [(b"content-length", str(len(body)).encode())]
    status = int(scope["path"][8:]) if scope["path"].startswith("/status/") else 200
    await send({"type": "http.response.start", "status": status, "headers": length})
    if scope["path"] == "/break":
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        if "portico.abort" not in (scope.get("extensions") or {}):
            raise BrokenAnswer
        await send({"type": "portico.abort"})
        return
    await send({"type": "http.response.body", "body": body})

server(application, "127.0.0.1", int(sys.argv[1])).run()
"""


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(kind)


def answers(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def server(kind: str, folder: Path) -> Iterator[tuple[int, int]]:
    """The process and the port of the server."""
    number = free_port()
    (folder / "asked").touch()
    environment = {
        **os.environ,
        "PORTICO_DATA": str(folder),
        "PORTICO_SERVER": kind,
        "PORTICO_MAX_FILE_BYTES": str(200 * 1024**2),
        "PORTICO_MAX_FORM_BYTES": str(1024**2),
        "PORTICO_TRUSTED_PROXIES": "127.0.0.2",
        "SENT": str(folder / "sent"),
        "ASKED": str(folder / "asked"),
    }
    process = subprocess.Popen([sys.executable, "-c", APPLICATION, str(number)], cwd=ROOT, env=environment)
    wait_until(lambda: process.poll() is not None or answers(number), seconds=90)
    assert process.poll() is None, "the server ended"
    yield process.pid, number
    process.terminate()
    assert process.wait(15) == 0


@pytest.fixture
def port(server: tuple[int, int]) -> int:
    return server[1]


def talk(port: int, data: bytes, *, source: str = "127.0.0.1", seconds: float = 10) -> bytes:
    """Send bytes and read until the server closes or says nothing for a moment."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds, source_address=(source, 0)) as s:
        s.sendall(data)
        answer = b""
        try:
            while chunk := s.recv(65536):
                answer += chunk
        except (TimeoutError, ConnectionResetError):
            pass
    return answer


def test_a_form_over_the_limit_is_refused_and_an_upload_of_that_size_is_not(port: int) -> None:
    body = b"x" * (2 * 1024**2)
    head = b"POST %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    refused = talk(port, head % (b"/new-space", b"localhost", len(body)) + body)
    assert refused.startswith(b"HTTP/1.1 413 ")
    assert b"application/json" in refused
    said = json.loads(refused.partition(b"\r\n\r\n")[2])
    assert said["error"] == "too_large" and "may carry at most" in said["message"]
    by_a_browser = head.replace(b"Host", b"Accept: text/html\r\nHost") % (b"/new-space", b"localhost", len(body)) + body
    assert b"<h1>Too large</h1>" in talk(port, by_a_browser)
    for host, path in ((b"localhost", b"/run/a/b/x"), (b"a-b.spaces.localhost:8000", b"/x")):
        taken = talk(port, head % (path, host, len(body)) + body)
        assert taken.startswith(b"HTTP/1.1 200 ") and b'"size": 2097152' in taken


UPLOAD = b"PUT /uploads/1/files/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


def test_a_disk_that_is_full_is_told_apart_from_a_body_that_is_too_large(server: tuple[int, int]) -> None:
    pid, port = server
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (2**19, limits[1]))
    try:
        refused = talk(port, UPLOAD % 2**22 + b"x" * 2**22)
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
    assert refused.startswith(b"HTTP/1.1 507 ")
    said = json.loads(refused.partition(b"\r\n\r\n")[2])
    assert said == {"error": "disk_full", "message": "The portal's disk is full."}


def test_an_upload_broken_off_half_way_is_not_handed_on_and_leaves_nothing_on_the_disk(
    server: tuple[int, int], folder: Path
) -> None:
    pid, port = server

    def spooled() -> list[str]:
        """Its files in the spool, which have no name there."""
        links = []
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                links.append(str(link.readlink()))
        return [link for link in links if link.startswith(str(folder / "spool"))]

    before = (folder / "asked").read_text()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(UPLOAD % 2**23 + b"x" * 2**22)
        wait_until(spooled)
        s.shutdown(socket.SHUT_WR)
        assert s.recv(1) == b""
    wait_until(lambda: not spooled())
    assert list((folder / "spool").iterdir()) == []
    assert (folder / "asked").read_text() == before


def test_a_status_has_its_reason(port: int) -> None:
    for status, line in ((422, b"422 Unprocessable Entity"), (429, b"429 Too Many Requests"), (299, b"299 ")):
        answer = talk(port, b"GET /status/%d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % status)
        assert answer.startswith(b"HTTP/1.1 " + line)


def test_a_body_is_counted_when_nothing_is_declared(port: int) -> None:
    chunk = b"%x\r\n" % 65536 + b"x" * 65536 + b"\r\n"
    head = b"POST /new-space HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert talk(port, head + chunk * 40 + b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")
    assert b'"size": 131072' in talk(port, head + chunk * 2 + b"0\r\n\r\n")


def test_a_refused_client_that_waits_for_100_is_not_told_to_go_on(port: int) -> None:
    head = b"POST /new-space HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
    assert b"100 Continue" not in talk(port, head, seconds=8)
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    assert talk(port, head).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")


def test_headers_are_bounded(port: int) -> None:
    many = b"".join(b"X-%d: 1\r\n" % n for n in range(400))
    assert talk(port, b"GET / HTTP/1.1\r\nHost: a\r\n" + many + b"\r\n").startswith(b"HTTP/1.1 400 ")
    large = b"X: " + b"y" * 60_000 + b"\r\n"
    assert not talk(port, b"GET / HTTP/1.1\r\nHost: a\r\n" + large + b"\r\n").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
        b"Content-Length: +4\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Content-Length : 4\r\n",
    ],
)
def test_framing_that_two_parsers_may_read_differently_is_refused(port: int, framing: bytes) -> None:
    answer = talk(port, b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1


def test_a_large_body_takes_no_memory(port: int) -> None:
    def ask(size: int) -> dict[str, int]:
        head = b"POST /run/a/b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
        found: dict[str, int] = json.loads(talk(port, head + b"x" * size, seconds=60).partition(b"\r\n\r\n")[2])
        return found

    before, after = ask(1), ask(150 * 1024**2)
    assert after["size"] == 150 * 1024**2
    assert after["peak"] - before["peak"] < 30 * 1024  # KiB


def test_a_client_that_does_not_read_stops_the_application(port: int, folder: Path) -> None:
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(1)
        first = int((folder / "sent").read_text())
        time.sleep(1)
        assert int((folder / "sent").read_text()) == first < 16 * 1024**2


def test_an_answer_broken_off_closes_the_connection_without_an_end(port: int) -> None:
    answer = talk(port, b"GET /break HTTP/1.1\r\nHost: a\r\n\r\n")
    assert not answer.endswith(b"0\r\n\r\n")


def test_nobody_but_a_trusted_proxy_says_where_a_request_came_from(port: int) -> None:
    head = (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 198.51.100.7\r\n"
        b"X-Forwarded-Proto: https\r\nDaphne-Root-Path: /evil\r\n\r\n"
    )
    direct = json.loads(talk(port, head).partition(b"\r\n\r\n")[2])
    assert (direct["client"], direct["scheme"], direct["root"]) == ("127.0.0.1", "http", "")
    assert set(direct["headers"]) <= {"connection", "daphne-root-path", "host"}
    proxied = json.loads(talk(port, head, source="127.0.0.2").partition(b"\r\n\r\n")[2])
    assert (proxied["client"], proxied["scheme"], proxied["root"]) == ("198.51.100.7", "https", "")


def test_the_server_does_not_say_what_it_is(port: int) -> None:
    assert b"\r\nserver:" not in talk(port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").lower()


async def test_websockets_pass_every_close_code_and_empty_messages(port: int) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{port}/") as ws:
        await ws.send_str("")
        assert (await ws.receive()).data == ""
        await ws.send_bytes(b"")
        assert (await ws.receive()).data == b""
        await ws.send_str("bye")
        closed = await ws.receive()
        assert (closed.data, closed.extra, ws.close_code) == (1001, "away", 1001)


async def test_a_busy_application_slows_its_websockets_client(port: int) -> None:
    timeout = aiohttp.ClientTimeout(total=30)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.ws_connect(f"http://127.0.0.1:{port}/slow") as ws,
    ):
        message, sent = b"x" * 65536, 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                while sent < 1000:
                    await ws.send_bytes(message)
                    sent += 1
        assert sent < 1000
        for _ in range(sent):
            assert (await ws.receive(timeout=10)).data == message
