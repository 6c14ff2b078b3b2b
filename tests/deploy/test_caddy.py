"""What deploy/Caddyfile does that nginx leaves to others: certificates for custom domains, when they are asked for."""

from __future__ import annotations

import json
import ssl
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.deploy.caddy import caddy
from tests.deploy.conftest import Site
from tests.deploy.front import CUSTOM, PORTAL, SPACES, Front
from tests.running_portal import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

PROVEN = f"""
from django.utils import timezone
from apps.spaces.models import Domain, Space
space = Space.objects.get(name="speaks")
Domain.objects.create(space=space, name="{CUSTOM}", verified_at=timezone.now())
Domain.objects.create(space=space, name="pending.example.com")
"""


def issued(site: Site) -> set[str]:
    """Names that Caddy got a certificate for by itself."""
    return {path.name for path in (site.front.folder / "storage" / "certificates" / "local").glob("*")}


def test_a_proven_domain_gets_its_certificate_when_it_is_first_asked_for_and_no_other_does(caddy_site: Site) -> None:
    caddy_site.portal.shell(PROVEN)
    assert issued(caddy_site) == {PORTAL}
    for strange in ("pending.example.com", "unknown.example.com"):
        with pytest.raises(ssl.SSLError):
            caddy_site.front.connect(strange)
    assert issued(caddy_site) == {PORTAL}
    answer = caddy_site.front.get(CUSTOM, "/status/200")
    assert (answer.status, answer.body) == (200, b"the app's own error")
    assert issued(caddy_site) == {PORTAL, CUSTOM}


def test_pages_of_the_portal_and_of_spaces(caddy_site: Site) -> None:
    front_page = caddy_site.front.get(PORTAL, "/")
    assert front_page.status == 200 and b"<title>" in front_page.body
    assert front_page.get("server") == "Caddy"
    cookie = caddy_site.front.get(PORTAL, "/accounts/login/").get("set-cookie") or ""
    assert cookie.startswith("__Host-csrf=") and "Secure" in cookie
    assert caddy_site.front.get(f"nobody.{SPACES}", "/").status == 404


def test_without_tls_there_is_only_the_way_to_it(caddy_site: Site) -> None:
    connection = HTTPConnection("127.0.0.1", caddy_site.front.plain_port)
    connection.request("GET", "/a?b=1", headers={"Host": PORTAL})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("location")) == (308, f"https://{PORTAL}/a?b=1")
    connection.close()


def test_an_upload_reaches_the_app_while_it_is_sent(caddy_site: Site) -> None:
    half = b"x" * (2 * 1024**2)
    with caddy_site.front.connect(caddy_site.app) as s:
        head = f"POST /upload HTTP/1.1\r\nHost: {caddy_site.app}\r\nContent-Length: {2 * len(half)}\r\n"
        s.sendall(head.encode() + b"Connection: close\r\n\r\n" + half)
        wait_until(
            lambda: json.loads(caddy_site.front.get(caddy_site.app, "/received").body) >= len(half) // 2,
        )
        s.sendall(half)
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b'{"size": %d}' % (2 * len(half)))


def test_while_the_portal_is_away_visitors_are_told_so(tmp_path: Path) -> None:
    front = Front(tmp_path)
    with caddy(front, free_port()):
        answer = front.get(PORTAL, "/")
    assert (answer.status, answer.get("retry-after")) == (503, "5")
    assert b"being restarted" in answer.body
