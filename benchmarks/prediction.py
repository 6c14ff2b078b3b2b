"""Predictions a second of a real Gradio app through the gateway, beside the same app asked directly, and through nginx
and configurable-http-proxy. Loopback only.

python benchmarks/prediction.py [--clients 16] [--seconds 1] [--rounds 20]

Each client does what Gradio's API page shows for curl, one call after the other on a connection that it keeps: it posts
a call and reads its event stream to the result. Each way leads to an app of its own, since Gradio grows slower the more
it has predicted: as a worker of the portal, and as `python app.py` in the same Environment. The rounds are short and
take turns, so that all meet the same machine, and whichever `python app.py` is not asked is stopped meanwhile. A ratio
is of all predictions. PORTICO_SERVER names the web server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import peers  # noqa: E402
from tests.running_portal import child  # noqa: E402

APP = """
import gradio as gr

def greet(name):
    return f"Hello {name}!"

gr.Interface(greet, "text", "text", api_name="predict", concurrency_limit=16).launch()
"""
DIRECTLY, GATEWAY = "directly", "through the gateway"
CALL = b'{"data": ["Ada"]}'


class Client:
    """One client with one connection."""

    def __init__(self, port: int, host: str) -> None:
        self._port, self._host = port, host
        self.seconds: list[float] = []

    async def run(self, until: float = 0) -> None:
        """Predict once, and again until then, by `time.monotonic`."""
        began = time.perf_counter()
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while True:
                said = json.loads(await self._ask("POST", "/gradio_api/call/predict", CALL))
                events = await self._ask("GET", f"/gradio_api/call/predict/{said['event_id']}")
                if b'event: complete\ndata: ["Hello Ada!"]' not in events:
                    raise RuntimeError(f"no prediction: {events!r}")
                self.seconds.append(time.perf_counter() - began)
                began = time.perf_counter()
                if time.monotonic() > until:
                    return
        finally:
            self._writer.close()

    async def _ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        self._writer.write(f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{kind}\r\n".encode() + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(head.decode())
        if b"transfer-encoding: chunked" not in head:
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            return await self._reader.readexactly(length)
        found = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            found += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)
        return found


class Target(NamedTuple):
    """One way to an app.

    Attributes:
        port: where the way begins, on 127.0.0.1.
        host: the `Host` that it is asked for.
        alone: the app at its end; None for a worker of the portal.
    """

    port: int
    host: str
    alone: peers.Alone | None

    def ask(self, clients: int, seconds: float) -> tuple[float, float]:
        """As `round_of`, while the other apps do nothing."""
        with self.alone.asked() if self.alone else contextlib.nullcontext():
            return asyncio.run(round_of(self.port, self.host, clients, seconds))


async def round_of(port: int, host: str, clients: int, seconds: float) -> tuple[float, float]:
    """Predictions a second, and the median time of one in milliseconds."""
    began = time.monotonic()
    asking = [Client(port, host) for _ in range(clients)]
    await asyncio.gather(*(client.run(began + seconds) for client in asking))
    times = [one for client in asking for one in client.seconds]
    return len(times) / (time.monotonic() - began), median(times) * 1000


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        portal, folder = stack.enter_context(peers.portal_with_gradio(APP))
        alone = stack.enter_context(peers.gradio(portal.python, folder))
        targets = {
            DIRECTLY: Target(alone.port, f"127.0.0.1:{alone.port}", alone),
            GATEWAY: Target(portal.port, portal.host("ada-hello"), None),
        }
        for name, proxy in (("nginx", peers.nginx), ("configurable-http-proxy", peers.configurable_http_proxy)):
            behind = stack.enter_context(peers.gradio(portal.python, folder))
            url = urlsplit(stack.enter_context(proxy(behind.port)))
            targets[f"through {name}"] = Target(url.port or 80, url.netloc, behind)
        measure(targets, child(portal, "portico web"), options)


def measure(targets: dict[str, Target], web: int, options: argparse.Namespace) -> None:
    names = list(targets)
    for target in targets.values():
        target.ask(options.clients, 2)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    spent = 0.0
    for n in range(options.rounds):
        first = n % len(names)
        for name in names[first:] + names[:first]:
            before = processor_seconds(web)
            found[name].append(targets[name].ask(options.clients, options.seconds))
            spent += processor_seconds(web) - before if name == GATEWAY else 0.0
    print(f"{options.clients} clients, {options.rounds} rounds of {options.seconds:g} s; medians")
    print(f"{'':<32} /s    ms  ratio")
    direct = sum(rate for rate, _ in found[DIRECTLY])
    for name, rounds in found.items():
        rate, took = (median(column) for column in zip(*rounds, strict=True))
        print(f"{name:<30} {rate:4.0f} {took:5.1f}  {sum(r for r, _ in rounds) / direct:.3f}")
    print(f"the web process took {spent / options.rounds / options.seconds:.2f} of a processor meanwhile")


if __name__ == "__main__":
    main()
