"""What deploy/nginx.conf does that is nginx's own; what a visitor meets through any front is in `test_fronts`."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.deploy.conftest import Site
from tests.deploy.front import CUSTOM, PORTAL, SPACES, Front, nginx
from tests.running_portal import child, free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


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
