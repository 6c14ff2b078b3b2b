"""What a visitor meets through nginx and Caddy: everything an app can say and hear, as if neither were there."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest

from tests.deploy.conftest import MAX_FILE_BYTES, Site
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture(params=["site", "caddy_site"], ids=["nginx", "caddy"])
def way(request: pytest.FixtureRequest) -> Site:
    found: Site = request.getfixturevalue(request.param)
    return found


def echoed(way: Site, path: str = "/", **options: object) -> dict[str, str]:
    """The headers that reached the app."""
    return dict(json.loads(way.front.get(way.app, path, **options).body)["headers"])


def test_http_2(way: Site) -> None:
    resolve = f"{way.app}:{way.front.port}:127.0.0.1"
    url = f"{way.front.origin(way.app)}/some?q=1"
    argv = ["curl", "-sS", "--http2", "--cacert", str(way.front.authority), "--resolve", resolve]
    done = subprocess.run(
        [*argv, "-w", "\n%{http_version}", "-H", "Cookie: a=1", "-d", "body", url],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    body, version = done.stdout.rsplit("\n", 1)
    said = json.loads(body)
    assert version == "2"
    assert (said["method"], said["target"], said["size"]) == ("POST", "/some?q=1", 4)
    headers = dict(said["headers"])
    assert (headers["host"], headers["cookie"]) == (f"{way.app}:{way.front.port}", "a=1")


def test_the_app_sees_the_visitors_own_address_and_nothing_that_is_only_claimed(way: Site) -> None:
    claimed = {
        "X-Forwarded-For": "198.51.100.1", "X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "evil.example",
        "X-Real-IP": "198.51.100.2", "Forwarded": "for=198.51.100.3", "X-Forwarded-Accel": "nginx",
    }  # fmt: skip
    headers = echoed(way, headers=claimed, source="127.0.0.9")
    assert headers["x-forwarded-for"] == "127.0.0.9"
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-host"] == headers["host"] == f"{way.app}:{way.front.port}"
    assert not {"x-real-ip", "forwarded", "x-forwarded-accel"} & set(headers)
    assert "198.51.100" not in json.dumps(headers)


def test_a_request_id_is_the_fronts_own(way: Site) -> None:
    theirs = echoed(way, headers={"X-Request-ID": "a-strangers"})["x-request-id"]
    assert theirs != "a-strangers" and len(theirs) >= 16
    assert echoed(way)["x-request-id"] != theirs


def test_cookies_are_the_hosts_own(way: Site) -> None:
    answer = way.front.get(way.app, "/cookies")
    cookies = [v for k, v in answer.headers if k == "set-cookie"]
    assert cookies == ["a=1; Path=/; HttpOnly", "b=2; Path=/"]
    headers = echoed(way, headers={"Cookie": "a=1; __Host-portico=stolen; b=2"})
    assert headers["cookie"] == "a=1; b=2"


def test_the_first_event_comes_while_the_app_holds_the_rest(way: Site) -> None:
    stream = way.front.begin("GET", way.app, "/events")
    assert stream.getheader("x-accel-buffering") is None
    assert stream.readline() == b"data: first\n"
    assert way.front.get(way.app, "/go").status == 200
    assert stream.read() == b"\ndata: second\n\n"
    stream.close()


def test_websockets(way: Site) -> None:
    with ThreadPoolExecutor() as apart:  # Playwright's tests, in the same process, leave an event loop in this thread
        apart.submit(asyncio.run, talk(way)).result()


async def talk(way: Site) -> None:
    context = ssl.create_default_context(cafile=str(way.front.authority))
    resolver = ToLoopback()
    connector = aiohttp.TCPConnector(resolver=resolver, ssl=context)
    address = f"{way.front.origin(way.app)}/socket"
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.ws_connect(address, protocols=["unknown", "b"], origin=way.front.origin(way.app)) as ws:
            assert ws.protocol == "b"
            await ws.send_str("loud")
            assert await ws.receive_str(timeout=10) == "LOUD"
            await ws.send_bytes(b"abc" * 100_000)
            assert await ws.receive_bytes(timeout=10) == b"cba" * 100_000
            await ws.send_str("bye")
            assert (await ws.receive(timeout=10)).data == 4001
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(address, origin="null")


class ToLoopback(aiohttp.abc.AbstractResolver):
    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list:  # type: ignore[type-arg]
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


def test_what_is_too_large_is_refused_by_the_portal_in_its_own_words(way: Site) -> None:
    size = MAX_FILE_BYTES + 2 * 1024**2
    refused = way.front.ask("POST", way.app, "/upload", body=b"x" * size)
    assert refused.status == 413 and json.loads(refused.body)["error"] == "too_large"
    fits = way.front.ask("POST", way.app, "/upload", body=b"x" * (MAX_FILE_BYTES - 1024))
    assert json.loads(fits.body) == {"size": MAX_FILE_BYTES - 1024}


def test_large_headers_pass_both_ways(way: Site) -> None:
    assert way.front.get(way.app, "/large-headers").get("x-large") == "x" * 40_000
    many = {f"X-Many-{n}": "y" * 4000 for n in range(8)}
    assert echoed(way, headers=many)["x-many-7"] == "y" * 4000


def test_errors_of_an_app_are_its_own_words(way: Site) -> None:
    for code in (404, 500, 502, 504):
        answer = way.front.get(way.app, f"/status/{code}")
        assert (answer.status, answer.body) == (code, b"the app's own error")


def test_ranges_of_what_an_app_sends(way: Site) -> None:
    part = way.front.get(way.app, "/download", headers={"Range": "bytes=3-9"})
    source = Path(__file__).with_name("app").joinpath("app.py").read_bytes()
    assert (part.status, part.body) == (206, source[3:10])
    assert part.get("content-range") == f"bytes 3-9/{len(source)}"


def test_a_visitor_who_leaves_ends_the_request_at_the_app(way: Site) -> None:
    stream = way.front.begin("GET", way.app, "/events")
    assert stream.readline() == b"data: first\n"
    before = json.loads(way.front.get(way.app, "/left").body)
    stream.close()
    wait_until(lambda: json.loads(way.front.get(way.app, "/left").body) == before + 1)
