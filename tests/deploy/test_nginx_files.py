"""What nginx gives away when it is told to, whoever told it: a small upstream names any file at all."""

from __future__ import annotations

import grp
import http.server
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from apps.gateway import accel
from tests.deploy.front import PORTAL, Front, nginx
from tests.running_portal import ROOT

pytestmark = pytest.mark.integration

OTHER_FILE = "SECRET of the portal's"


class Names(http.server.BaseHTTPRequestHandler):
    """Answers with the file that the query names."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("X-Accel-Redirect", unquote(self.path.partition("?")[2]))
        for name in sorted(n.decode() for n in accel.PASSED_ON):
            self.send_header(name, f"as {name}")
        self.send_header("Content-Type", "text/x-own; charset=utf-8")
        self.send_header("Cache-Control", "private, no-cache")
        self.send_header("Set-Cookie", "a=1; Path=/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Names)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose deployment somebody has got hold of."""
    data = tmp_path_factory.mktemp("data")
    site = data / "deployments" / "1"
    (site / "sub").mkdir(parents=True)
    (data / "keys").mkdir()
    (data / "keys" / "secret_key").write_text(OTHER_FILE)
    (site / "file.txt").write_text("0123456789")
    (site / "sub" / "100%25 a?b#c;ä$uri&+.txt").write_text("odd")
    (site / "link.txt").symlink_to(data / "keys" / "secret_key")
    (site / "near.txt").symlink_to("file.txt")
    (site / "keys").symlink_to(data / "keys")
    (data / "deployments" / "2").symlink_to(data / "keys")
    os.mkfifo(site / "pipe")
    return data


@pytest.fixture(scope="module")
def front(upstream: int, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    front = Front(tmp_path_factory.mktemp("nginx"))
    with nginx(front, [upstream], data):
        yield front


def test_an_ordinary_file_is_sent_with_the_portals_headers(front: Front) -> None:
    answer = front.get(PORTAL, "/x?/.portico/accel/deployments/1/file.txt")
    assert (answer.status, answer.body) == (200, b"0123456789")
    said = dict(answer.headers)
    assert {name: said.get(name.decode()) for name in accel.PASSED_ON} == {
        name: f"as {name.decode()}" for name in accel.PASSED_ON
    }
    assert (said["content-type"], said["cache-control"]) == ("text/x-own; charset=utf-8", "private, no-cache")
    assert (said["set-cookie"], said["accept-ranges"]) == ("a=1; Path=/", "bytes")
    assert len(answer.headers) == len(said)


def test_nginx_copies_the_headers_that_the_portal_counts_on() -> None:
    text = (ROOT / "deploy" / "nginx-server.conf").read_text()
    copied = re.findall(r"add_header (\S+) +\$upstream_http_(\w+);", text)
    assert all(name.lower().replace("-", "_") == variable for name, variable in copied)
    assert {name.lower().encode() for name, _ in copied} == accel.PASSED_ON


def test_odd_names_reach_their_files(front: Front, data: Path, settings: Any) -> None:
    settings.PORTICO_DATA = data
    path = data / "deployments" / "1" / "sub" / "100%25 a?b#c;ä$uri&+.txt"
    where = accel.location(path)
    assert where is not None
    assert front.get(PORTAL, f"/x?{where.replace('%', '%25')}").body == b"odd"


@pytest.mark.parametrize(
    "where",
    [
        "deployments/1/link.txt", "deployments/1/near.txt", "deployments/1/keys/secret_key", "deployments/2/secret_key",
        "keys/secret_key", "deployments/../keys/secret_key", "deployments/1/../../keys/secret_key",
        "deployments/%2e%2e/keys/secret_key", "deployments//../keys/secret_key", "deployments/1", "deployments/1/",
        "deployments/1/pipe", "deployments/1/none", "deployments/1/file.txt%00", "portico.sqlite3", "",
    ],
)  # fmt: skip
def test_nothing_else_is_sent(front: Front, where: str) -> None:
    answer = front.get(PORTAL, f"/x?/.portico/accel/{where.replace('%', '%25')}")
    assert answer.status >= 300
    assert OTHER_FILE.encode() not in answer.body and b"0123" not in answer.body


def test_nobody_asks_for_the_location_itself(front: Front) -> None:
    assert front.get(PORTAL, "/.portico/accel/deployments/1/file.txt").status == 404


@pytest.mark.parametrize("where", ["deployments/1/link.txt", "deployments/1/keys/secret_key"])
def test_without_its_rule_nginx_would_follow_links(upstream: int, data: Path, tmp_path: Path, where: str) -> None:
    front = Front(tmp_path)
    with nginx(front, [upstream], data, change=("disable_symlinks on from=", "# ")):
        assert front.get(PORTAL, f"/x?/.portico/accel/{where}").body == OTHER_FILE.encode()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs nginx's worker as somebody else")
def test_an_account_of_its_own_reaches_deployments_where_the_docs_are_followed(upstream: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        data, own = Path(folder) / "data", Path(folder) / "nginx"
        own.mkdir()
        (data / "deployments" / "1").mkdir(parents=True)
        (data / "deployments" / "1" / "file.txt").write_text("0123456789")
        data.chmod(0o700)
        front = Front(own)
        with nginx(front, [upstream], data, user="www-data"):
            where = "/x?/.portico/accel/deployments/1/file.txt"
            assert front.get(PORTAL, where).status == 403
            os.chown(data, 0, grp.getgrnam("www-data").gr_gid)
            data.chmod(0o710)
            assert front.get(PORTAL, where).body == b"0123456789"
