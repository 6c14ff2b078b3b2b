"""Requests a second and added latency through the gateway, beside the same app asked directly. One run, loopback only.

python benchmarks/gateway.py

Starts a portal of its own in a temporary data folder, deploys a small fast app to it, and lets wrk ask that app
directly and through the gateway. Ratios travel between machines; the figures themselves do not.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.running_portal import RunningPortal, free_port  # noqa: E402

SECONDS = 5
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
    with tempfile.TemporaryDirectory(prefix="portico-benchmark-") as folder:
        root = Path(folder)
        app = root / "app"
        app.mkdir()
        (app / "app.py").write_text(APP)
        (app / "README.md").write_text(README)
        port = free_port()
        direct_app = subprocess.Popen([sys.executable, str(app / "app.py")], env={"PORT": str(port)})
        try:
            with RunningPortal(root / "data", PORTICO_ADMIN="ada:correct-horse-battery") as portal:
                portal.deploy(app, "ada/fast")
                host, gateway_url = portal.host("ada-fast"), f"http://127.0.0.1:{portal.port}/"
                portal.get("/", host=host)
                report(f"http://127.0.0.1:{port}/", gateway_url, host)
        finally:
            direct_app.terminate()
            direct_app.wait()


def report(direct_url: str, gateway_url: str, host: str) -> None:
    print(f"{BODY_BYTES} bytes an answer, {SECONDS} s each, wrk with one thread")
    for connections in (16, 1):
        direct = wrk(direct_url, host=None, connections=connections)
        through = wrk(gateway_url, host=host, connections=connections)
        print(
            f"{connections:>3} connections: direct {direct.rate:>8,.0f}/s, gateway {through.rate:>8,.0f}/s "
            f"({through.rate / direct.rate:.2f} of direct); median {direct.median_ms:.2f} ms, "
            f"{through.median_ms:.2f} ms ({through.median_ms - direct.median_ms:+.2f} ms)"
        )


if __name__ == "__main__":
    main()
