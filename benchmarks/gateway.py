"""Requests a second and added latency through the gateway under each of its servers, beside nginx and
configurable-http-proxy in front of the same app, and beside the app asked directly. One run, loopback only.

python benchmarks/gateway.py

Starts a portal of its own in a temporary data folder, deploys a small fast app to it, and lets wrk ask. Each proxy has
one core to itself; the app and wrk share the others. Ratios travel between machines; the figures themselves do not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import peers  # noqa: E402
from tests.running_portal import RunningPortal, child  # noqa: E402

SECONDS = 4
ROUNDS = 3
BODY_BYTES = 2700
APP = f"""
import asyncio, os

BODY = b"x" * {BODY_BYTES}
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(BODY) + BODY


class Fast(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.rest = transport, b""

    def data_received(self, data):
        *requests, self.rest = (self.rest + data).split(b"\\r\\n\\r\\n")
        self.transport.write(ANSWER * len(requests))


async def main():
    server = await asyncio.get_running_loop().create_server(Fast, "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()


asyncio.run(main())
"""
README = "---\nsdk: python\napp_file: app.py\n---\n"


@dataclass(frozen=True)
class Figures:
    """What wrk measured: requests a second, and the median latency in milliseconds."""

    rate: float
    median_ms: float


def wrk(url: str, *, host: str | None, connections: int) -> Figures:
    """Ask `url` for `SECONDS` with one thread; fails when an answer was an error."""
    host_header = ["-H", f"Host: {host}"] if host else []
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", *host_header, url]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"some answers were errors:\n{text}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", text)
    assert rate and median, text
    return Figures(float(rate[1]), float(median[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[median[2]])


def main() -> None:
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing; install the Debian package wrk")
    cores = sorted(os.sched_getaffinity(0))
    proxy_core, rest = cores[-1], set(cores[:-1]) or {cores[0]}
    os.sched_setaffinity(0, rest)
    with tempfile.TemporaryDirectory(prefix="portico-benchmark-") as folder, ExitStack() as stack:
        root = Path(folder)
        app = root / "app"
        app.mkdir()
        (app / "app.py").write_text(APP)
        (app / "README.md").write_text(README)
        port = stack.enter_context(peers.directly(app / "app.py"))
        urls: dict[str, tuple[str, str | None]] = {"direct": (f"http://127.0.0.1:{port}/", None)}
        urls["nginx"] = stack.enter_context(peers.nginx(port, core=proxy_core)) + "/", None
        urls["configurable-http-proxy"] = (
            stack.enter_context(peers.configurable_http_proxy(port, core=proxy_core)) + "/", None,
        )  # fmt: skip
        for server in ("daphne", "uvicorn"):
            portal = stack.enter_context(
                RunningPortal(
                    root / server,
                    PORTICO_ADMIN="ada:correct-horse-battery",
                    PORTICO_SERVER=server,
                    PORTICO_RATE_PER_SPACE="0",
                )
            )
            portal.deploy(app, "ada/fast")
            host = portal.host("ada-fast")
            portal.get("/", host=host)
            pin(child(portal, "portico web"), proxy_core)
            urls[f"gateway, {server}"] = f"http://127.0.0.1:{portal.port}/", host
        report(urls)


def pin(pid: int, core: int) -> None:
    """Give a process, with all its threads, one core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def report(urls: dict[str, tuple[str, str | None]]) -> None:
    print(
        f"{BODY_BYTES} bytes an answer, medians of {ROUNDS} rounds of {SECONDS} s, wrk with one thread, one core each"
    )
    for connections in (16, 1):
        rounds: dict[str, list[Figures]] = {name: [] for name in urls}
        for _ in range(ROUNDS):
            for name, (url, host) in urls.items():
                rounds[name].append(wrk(url, host=host, connections=connections))
        found = {
            name: Figures(median(f.rate for f in all_), median(f.median_ms for f in all_))
            for name, all_ in rounds.items()
        }
        direct, peer = found["direct"], found["configurable-http-proxy"]
        for name, figures in found.items():
            print(
                f"{connections:>3} connections  {name:<24}{figures.rate:>9,.0f}/s  {figures.rate / peer.rate:5.2f} of "
                f"configurable-http-proxy  median {figures.median_ms:.2f} ms "
                f"({figures.median_ms - direct.median_ms:+.2f} ms)"
            )


if __name__ == "__main__":
    main()
