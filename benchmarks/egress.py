"""What a worker's way to the world costs: at its start, per connection and per byte, beside no such way.

python benchmarks/egress.py        as root

In a world of network namespaces (`tests/world.py`). Ratios travel between machines; the figures themselves do not.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from apps.sandbox.egress.probe import namespace_within, new_namespace  # noqa: E402
from apps.sandbox.egress.router import Router  # noqa: E402
from apps.sandbox.namespaces import entered  # noqa: E402
from tests.ordinary import as_user  # noqa: E402
from tests.world import PORT, WORLD, a_world  # noqa: E402

LINKS, CONNECTIONS, BYTES = 50, 300, 400_000_000
CLIENT = """
import socket, statistics, sys, time, urllib.request
url, size, connections = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
began = time.perf_counter()
got = 0
with urllib.request.urlopen(f"{url}{size}") as answer:
    while part := answer.read(1 << 20):
        got += len(part)
assert got == size
print(size / (time.perf_counter() - began) / 1e6)
host, port = url.removeprefix("http://").rstrip("/").split(":")
took = []
for _ in range(connections):
    began = time.perf_counter()
    with socket.create_connection((host, int(port))):
        took.append(time.perf_counter() - began)
print(statistics.median(took) * 1000)
"""


async def inside() -> None:
    router = Router()
    began = time.perf_counter()
    await router.start()
    print(f"{'a router, once a node':40}{(time.perf_counter() - began) * 1000:10.1f} ms")
    ordinary = os.geteuid() != 0
    workers = [namespace_within(router.namespace) if ordinary else new_namespace() for _ in range(LINKS)]
    took = []
    for worker in workers:
        began = time.perf_counter()
        await router.connect(worker)
        took.append((time.perf_counter() - began) * 1000)
    print(f"{'a link, once a worker':40}{statistics.median(took):10.2f} ms, at most {max(took):.2f}")
    if ordinary:
        await router.end()
        return
    direct = figures(start_client())
    with entered(workers[0]):
        linked = start_client()
    through = await asyncio.to_thread(figures, linked)
    print(f"{'download, direct':40}{direct[0]:10.0f} MB/s")
    print(f"{'download, as a worker':40}{through[0]:10.0f} MB/s, {through[0] / direct[0]:.2f} of direct")
    print(f"{'connection, direct':40}{direct[1]:10.3f} ms")
    print(f"{'connection, as a worker':40}{through[1]:10.3f} ms, {through[1] - direct[1]:.3f} more")
    await router.end()


def start_client() -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CLIENT, f"http://{WORLD}:{PORT}/", str(BYTES), str(CONNECTIONS)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def figures(client: subprocess.Popen[str]) -> tuple[float, float]:
    """MB/s, and ms per connection."""
    speed, took = client.communicate()[0].split()
    return float(speed), float(took)


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        asyncio.run(inside())
    elif os.geteuid() != 0:
        sys.exit(__doc__)
    else:
        with a_world() as world:
            command = [sys.executable, __file__, "inside"]
            print("As root:")
            subprocess.run(world.on_host(command), check=True)
            print("As an ordinary user:")
            subprocess.run(world.on_host(as_user(command)), check=True)
