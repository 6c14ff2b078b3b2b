"""Large transfers through the gateway, beside nginx and beside the same app asked directly. One run, loopback only.

python benchmarks/transfer.py [--gigabytes 2] [--rounds 3]

First 2 GB to an app and 2 GB from it: megabytes a second, and how much the web process' memory grew meanwhile. Then
files of a static Space, which an nginx in front sends after the portal decided (X-Accel-Redirect), beside an nginx that
asks nobody. Ratios travel between machines; the figures themselves do not. PORTICO_SERVER names the web server.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import peers  # noqa: E402
from tests.deploy.front import server_conf  # noqa: E402
from tests.running_nginx import RunningNginx  # noqa: E402
from tests.running_portal import RunningPortal, child, free_port  # noqa: E402

PIECE = bytes(1024**2)
SMALL_BYTES = 2700
SECONDS = 5
APP = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = bytes(1024**2)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        size, room = 0, memoryview(bytearray(len(PIECE)))
        for length in self.lengths():
            while length > 0 and (count := self.rfile.readinto1(room[:length])):
                size, length = size + count, length - count
        self.answer(str(size).encode())

    def lengths(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            yield int(self.headers["Content-Length"])
            return
        while length := int(self.rfile.readline(), 16):
            yield length
            self.rfile.readline()
        self.rfile.readline()

    def do_GET(self):
        size = int(self.path.partition("?")[2] or 0)
        self.answer(b"", size)
        while size > 0:
            self.wfile.write(PIECE[:size])
            size -= len(PIECE)

    def answer(self, body, more=0):
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body) + more))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
README = "---\nsdk: python\napp_file: app.py\n---\n"
SITE = """
map $http_upgrade $portico_connection {{ default upgrade; "" ""; }}
upstream portico {{ server 127.0.0.1:{portal}; keepalive 256; keepalive_requests 1000000000; }}
server {{
    listen 127.0.0.1:{accelerated} backlog=1024;
    keepalive_requests 1000000000;
    include {folder}/server.conf;
}}
server {{
    listen 127.0.0.1:{alone} backlog=1024;
    keepalive_requests 1000000000;
    root {files};
}}
"""
"""The portal behind deploy/'s configuration, and the same files without a portal."""


def upload(url: str, host: str, size: int) -> float:
    """Send `size` bytes and wait for the app's answer, that it got them; seconds."""
    head = f"POST /upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    started = time.perf_counter()
    with _connect(url) as s:
        s.sendall(head.encode())
        left = size
        while left > 0:
            s.sendall(PIECE[:left])
            left -= len(PIECE)
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    if not answer.startswith(b"HTTP/1.1 200 ") or not answer.rstrip().endswith(str(size).encode()):
        sys.exit(f"the upload failed: {answer[:500]!r}")
    return time.perf_counter() - started


def download(url: str, host: str, path: str, size: int) -> float:
    """Take `size` bytes; seconds."""
    started = time.perf_counter()
    with _connect(url) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        with s.makefile("rb", buffering=0) as answer:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += answer.read(1) or sys.exit(f"the download failed: {head!r}")
            if not head.startswith(b"HTTP/1.1 200 "):
                sys.exit(f"the download failed: {head!r}")
            received, room = 0, bytearray(len(PIECE))
            while received < size and (count := answer.readinto(room)):
                received += count
    if received != size:
        sys.exit(f"the download broke off after {received} of {size} bytes")
    return time.perf_counter() - started


def _connect(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname or "", address.port or 80), timeout=120)


class Memory:
    """The resident memory of a process while something happens, in MiB: before, and at its peak."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __enter__(self) -> Memory:
        self.before = self.peak = self._now()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.peak = max(self.peak, self._now())

    def _now(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing; install the Debian package wrk")
    size = int(given.gigabytes * 1e9)
    with tempfile.TemporaryDirectory(prefix="portico-transfer-") as name:
        folder = Path(name)
        app, site = folder / "app", folder / "site"
        app.mkdir()
        (app / "app.py").write_text(APP)
        (app / "README.md").write_text(README)
        site.mkdir()
        (site / "README.md").write_text("---\nsdk: static\n---\n")
        (site / "index.html").write_text("<title>Files</title>")
        (site / "small.txt").write_text("x" * SMALL_BYTES)
        settings = {
            "PORTICO_ADMIN": "ada:correct-horse-battery",
            "PORTICO_MAX_FILE_BYTES": str(2 * size),
            "PORTICO_ACCEL": "nginx",
            "PORTICO_TRUSTED_PROXIES": "127.0.0.1",
            "PORTICO_RATE_PER_SPACE": "0",  # what is measured is how fast it can be
        }
        with RunningPortal(folder / "data", **settings) as portal:
            portal.deploy(app, "ada/app")
            portal.deploy(site, "ada/site")
            print(f"server: {os.environ.get('PORTICO_SERVER', 'the default')}; medians of {given.rounds}")
            with peers.directly(app / "app.py") as port, peers.nginx(port) as nginx:
                through_app(portal, f"http://127.0.0.1:{port}", nginx, size, given.rounds)
            files(portal, folder / "nginx", size, given.rounds)


def through_app(portal: RunningPortal, direct: str, nginx: str, size: int, rounds: int) -> None:
    """To an app, and from it."""
    gateway, host = f"http://127.0.0.1:{portal.port}", portal.host("ada-app")
    ways = {"directly": (direct, "app"), "nginx": (nginx, "app"), "gateway": (gateway, host)}
    web = child(portal, "portico web")
    verbs: dict[str, Callable[[str, str, int], float]] = {
        "upload": upload,
        "download": lambda url, host, size: download(url, host, f"/?{size}", size),
    }
    for verb, move in verbs.items():
        for url, host_ in ways.values():
            move(url, host_, 50_000_000)
        with Memory(web) as memory:
            rates = rate_of(ways, lambda way, move=move: move(*way, size), size, rounds)
        print(
            f"{verb:<9} {size / 1e9:g} GB: "
            + ", ".join(f"{way} {rate:,.0f} MB/s" for way, rate in rates.items())
            + f"; gateway {rates['gateway'] / rates['nginx']:.2f} of nginx, "
            f"{rates['gateway'] / rates['directly']:.2f} of direct; the web process' memory "
            f"{memory.before:.0f} MiB before, {memory.peak:.0f} MiB at most ({memory.peak - memory.before:+.0f})"
        )


def rate_of(
    ways: dict[str, tuple[str, str]], move: Callable[[tuple[str, str]], float], size: int, rounds: int
) -> dict[str, float]:
    """Megabytes a second of each way, the ways taken in turn."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, address in ways.items():
            seconds[way].append(move(address))
    return {way: size / 1e6 / median(taken) for way, taken in seconds.items()}


def files(portal: RunningPortal, folder: Path, size: int, rounds: int) -> None:
    """A static Space's files: nginx after the portal decided, nginx that asks nobody, the portal without nginx."""
    host = portal.host("ada-site")
    number = "Deployment.objects.get(space__name='site', is_current=True).pk"
    deployment = portal.shell(f"from apps.builds.models import Deployment\nprint({number})").strip()
    site = portal.data / "deployments" / deployment
    with (site / "large.bin").open("wb") as large:
        large.truncate(size)  # no place on the disk, and read from memory as a file in use would be
    folder.mkdir()
    (folder / "server.conf").write_text(server_conf(portal.data))
    ports = {"accelerated": free_port(), "alone": free_port()}
    conf = SITE.format(portal=portal.port, folder=folder, files=site, **ports)
    with RunningNginx(folder, conf, list(ports.values())):
        ways = {
            "nginx alone": (f"http://127.0.0.1:{ports['alone']}", host),
            "nginx by X-Accel-Redirect": (f"http://127.0.0.1:{ports['accelerated']}", host),
            "portal": (f"http://127.0.0.1:{portal.port}", host),
        }
        for url, host_ in ways.values():
            download(url, host_, "/large.bin", size)
        rates = rate_of(ways, lambda way: download(*way, "/large.bin", size), size, rounds)
        report("large file", "MB/s", rates)
        requests: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, (url, host_) in ways.items():
                requests[way].append(wrk(f"{url}/small.txt", host_))
        report("small file", "requests/s", {way: median(found) for way, found in requests.items()})


def report(what: str, unit: str, rates: dict[str, float]) -> None:
    said = ", ".join(f"{way} {rate:,.0f}" for way, rate in rates.items())
    ratio = rates["nginx by X-Accel-Redirect"] / rates["nginx alone"]
    print(f"{what}, {unit}: {said} (X-Accel-Redirect {ratio:.2f} of nginx alone)")


def wrk(url: str, host: str) -> float:
    argv = ["wrk", "-t1", "-c16", f"-d{SECONDS}s", "-H", f"Host: {host}", url]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if found is None or "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"some answers were errors:\n{text}")
    return float(found[1])


if __name__ == "__main__":
    main()
