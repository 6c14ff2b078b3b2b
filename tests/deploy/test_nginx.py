"""What a visitor meets through nginx: everything an app can say and hear, as if nginx were not there."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import aiohttp
import pytest

from tests.deploy.conftest import MAX_FILE_BYTES, Site
from tests.deploy.front import CUSTOM, PORTAL, SPACES, Front, nginx
from tests.running_portal import child, free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


def echoed(site: Site, path: str = "/", **options: object) -> dict[str, str]:
    """The headers that reached the app."""
    return dict(json.loads(site.front.get(site.app, path, **options).body)["headers"])


def test_pages_of_the_portal_and_of_spaces(site: Site) -> None:
    front_page = site.front.get(PORTAL, "/")
    assert front_page.status == 200 and b"<title>" in front_page.body
    assert (front_page.get("strict-transport-security") or "").startswith("max-age=")
    cookie = site.front.get(PORTAL, "/accounts/login/").get("set-cookie") or ""
    assert cookie.startswith("__Host-csrf=") and "Secure" in cookie
    assert site.front.get(site.static, "/").body.endswith(b"<h1>Static</h1>")
    assert site.front.get(f"nobody.{SPACES}", "/").status == 404
    assert front_page.get("server") == "nginx"


def test_without_tls_there_is_only_the_way_to_it(site: Site) -> None:
    connection = HTTPConnection("127.0.0.1", site.front.plain_port)
    connection.request("POST", "/a?b=1", headers={"Host": site.app})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("location")) == (308, f"https://{site.app}/a?b=1")
    connection.close()


def test_a_custom_domain_is_asked_for_with_its_own_certificate(site: Site) -> None:
    assert site.front.get(CUSTOM, "/").status in (400, 404)
    with pytest.raises(OSError):
        site.front.connect("unknown.example.com")


def test_http_2(site: Site) -> None:
    resolve = f"{site.app}:{site.front.port}:127.0.0.1"
    url = f"{site.front.origin(site.app)}/some?q=1"
    argv = ["curl", "-sS", "--http2", "--cacert", str(site.front.authority), "--resolve", resolve]
    done = subprocess.run(
        [*argv, "-w", "\n%{http_version}", "-H", "Cookie: a=1", "-d", "body", url],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    body, version = done.stdout.rsplit("\n", 1)
    said = json.loads(body)
    assert version == "2"
    assert (said["method"], said["target"], said["size"]) == ("POST", "/some?q=1", 4)
    headers = dict(said["headers"])
    assert (headers["host"], headers["cookie"]) == (f"{site.app}:{site.front.port}", "a=1")


def test_the_app_sees_the_visitors_own_address_and_nothing_that_is_only_claimed(site: Site) -> None:
    claimed = {
        "X-Forwarded-For": "198.51.100.1", "X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "evil.example",
        "X-Real-IP": "198.51.100.2", "Forwarded": "for=198.51.100.3", "X-Forwarded-Accel": "nginx",
    }  # fmt: skip
    headers = echoed(site, headers=claimed, source="127.0.0.9")
    assert headers["x-forwarded-for"] == "127.0.0.9"
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-host"] == headers["host"] == f"{site.app}:{site.front.port}"
    assert not {"x-real-ip", "forwarded", "x-forwarded-accel"} & set(headers)
    assert "198.51.100" not in json.dumps(headers)


def test_a_request_id_is_nginxs_own(site: Site) -> None:
    theirs = echoed(site, headers={"X-Request-ID": "a-strangers"})["x-request-id"]
    assert theirs != "a-strangers" and len(theirs) >= 16
    assert echoed(site)["x-request-id"] != theirs


def test_cookies_are_the_hosts_own(site: Site) -> None:
    answer = site.front.get(site.app, "/cookies")
    cookies = [v for k, v in answer.headers if k == "set-cookie"]
    assert cookies == ["a=1; Path=/; HttpOnly", "b=2; Path=/"]
    headers = echoed(site, headers={"Cookie": "a=1; __Host-portico=stolen; b=2"})
    assert headers["cookie"] == "a=1; b=2"


def test_the_first_event_comes_while_the_app_holds_the_rest(site: Site) -> None:
    stream = site.front.begin("GET", site.app, "/events")
    assert stream.getheader("x-accel-buffering") is None
    assert stream.readline() == b"data: first\n"
    assert site.front.get(site.app, "/go").status == 200
    assert stream.read() == b"\ndata: second\n\n"
    stream.close()


def test_websockets(site: Site) -> None:
    with ThreadPoolExecutor() as apart:  # Playwright's tests, in the same process, leave an event loop in this thread
        apart.submit(asyncio.run, talk(site)).result()


async def talk(site: Site) -> None:
    context = ssl.create_default_context(cafile=str(site.front.authority))
    resolver = ToLoopback()
    connector = aiohttp.TCPConnector(resolver=resolver, ssl=context)
    address = f"{site.front.origin(site.app)}/socket"
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.ws_connect(address, protocols=["unknown", "b"], origin=site.front.origin(site.app)) as ws:
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


def held_by(pid: int) -> int:
    """Bytes in files without a name that a process has open: a body that waits on the disk."""
    size = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if str(link.readlink()).endswith("(deleted)"):
                size += link.stat().st_size
        except FileNotFoundError:
            continue
    return size


def test_an_upload_reaches_the_portal_while_it_is_sent_and_never_lies_on_nginxs_disk(site: Site) -> None:
    half = b"x" * (2 * 1024**2)
    web = child(site.portal, "portico web")
    with site.front.connect(site.app) as s:
        head = (
            f"POST /upload HTTP/1.1\r\nHost: {site.app}\r\nContent-Length: {2 * len(half)}\r\nConnection: close\r\n\r\n"
        )
        s.sendall(head.encode() + half)
        received = lambda: json.loads(site.front.get(site.app, "/received").body)  # noqa: E731
        wait_until(lambda: received() >= len(half) or held_by(web) >= len(half))
        assert list((site.front.folder / "body").iterdir()) == []
        s.sendall(half)
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b'{"size": %d}' % (2 * len(half)))


def test_what_is_too_large_is_refused_by_the_portal_in_its_own_words(site: Site) -> None:
    size = MAX_FILE_BYTES + 2 * 1024**2
    refused = site.front.ask("POST", site.app, "/upload", body=b"x" * size)
    assert refused.status == 413 and json.loads(refused.body)["error"] == "too_large"
    fits = site.front.ask("POST", site.app, "/upload", body=b"x" * (MAX_FILE_BYTES - 1024))
    assert json.loads(fits.body) == {"size": MAX_FILE_BYTES - 1024}


def test_large_headers_pass_both_ways(site: Site) -> None:
    assert site.front.get(site.app, "/large-headers").get("x-large") == "x" * 40_000
    many = {f"X-Many-{n}": "y" * 4000 for n in range(8)}
    assert echoed(site, headers=many)["x-many-7"] == "y" * 4000


def test_errors_of_an_app_are_its_own_words(site: Site) -> None:
    for code in (404, 500, 502, 504):
        answer = site.front.get(site.app, f"/status/{code}")
        assert (answer.status, answer.body) == (code, b"the app's own error")


def test_ranges_of_what_an_app_sends(site: Site) -> None:
    part = site.front.get(site.app, "/download", headers={"Range": "bytes=3-9"})
    source = Path(__file__).with_name("app").joinpath("app.py").read_bytes()
    assert (part.status, part.body) == (206, source[3:10])
    assert part.get("content-range") == f"bytes 3-9/{len(source)}"


@pytest.mark.parametrize("path", ["deployments/1/README.md", "keys/secret_key", "../../etc/passwd"])
def test_an_app_cannot_have_nginx_send_a_file(site: Site, path: str) -> None:
    answer = site.front.get(site.app, f"/hostile?file=/.portico/accel/{path}")
    assert (answer.status, answer.body) == (200, b"the app's own words")
    assert not [k for k, _ in answer.headers if k.startswith("x-accel-") or k == "x-sendfile"]
    assert answer.get("content-type") == "text/plain; charset=utf-8"


def test_while_the_portal_is_away_visitors_are_told_so(site: Site, tmp_path: Path) -> None:
    front = Front(tmp_path)
    with nginx(front, [free_port()], site.portal.data):
        answer = front.get(PORTAL, "/")
    assert (answer.status, answer.get("retry-after")) == (503, "5")
    assert b"Back in a moment" in answer.body


def test_a_web_process_that_is_away_costs_no_visitor_an_error(site: Site, tmp_path: Path) -> None:
    front = Front(tmp_path)
    with nginx(front, [free_port(), site.portal.port, free_port()], site.portal.data):
        assert [front.get(PORTAL, "/healthz").status for _ in range(6)] == [200] * 6


def test_connections_to_the_portal_are_kept(site: Site) -> None:
    def open_to_portal() -> set[str]:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        port = f":{site.portal.port:04X}"
        return {f[1] for f in (line.split() for line in lines) if f[2].endswith(port) and f[3] == "01"}

    site.front.get(PORTAL, "/healthz")
    before = open_to_portal()
    for _ in range(5):
        site.front.get(PORTAL, "/healthz")
    assert before and open_to_portal() == before


def test_a_visitor_who_leaves_ends_the_request_at_the_app(site: Site) -> None:
    stream = site.front.begin("GET", site.app, "/events")
    assert stream.readline() == b"data: first\n"
    before = json.loads(site.front.get(site.app, "/left").body)
    stream.close()
    wait_until(lambda: json.loads(site.front.get(site.app, "/left").body) == before + 1)
