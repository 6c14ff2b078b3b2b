"""Three ways into a worker's network namespace, beside plain loopback in ours. One run, as root, loopback only.

python benchmarks/reach_worker.py

The worker listens on TCP, as every demo does, in a namespace that bubblewrap made. It is reached by a TCP socket that
was created inside the namespace (what Portico does), through a unix socket and a relay inside the namespace, and over
a veth pair. Ratios travel between machines; the figures themselves do not.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from apps.runtime import netns  # noqa: E402

PORT = 7860
ROUND_TRIPS, CONNECTIONS, BYTES = 3000, 500, 256 * 1024 * 1024
WORKER = """
import socket, sys, threading
def serve(connection):
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(262144):
            if data[:1] == b"e":
                connection.sendall(data)
listener = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=512)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
RELAY = """
import socket, sys, threading
def copy(source, target):
    while data := source.recv(262144):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)
def serve(client):
    worker = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    worker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    back = threading.Thread(target=copy, args=(worker, client), daemon=True)
    back.start(); copy(client, worker); back.join(); worker.close(); client.close()
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen(512)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
Connect = Callable[[], socket.socket]


def process(stack: ExitStack, *argv: str, **options: object) -> subprocess.Popen[bytes]:
    started = subprocess.Popen(argv, **options)  # type: ignore[call-overload]
    stack.callback(started.wait)
    stack.callback(started.kill)
    return started


def until_connected(connect: Connect) -> None:
    for _ in range(500):
        with contextlib.suppress(OSError):
            connect().close()
            return
        time.sleep(0.01)
    raise TimeoutError("the worker does not listen")


@contextmanager
def worker_in_namespace() -> Iterator[tuple[int, Path]]:
    """A worker and a relay in a namespace of their own: the id of a process in it, and the relay's unix socket."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "worker.py").write_text(WORKER)
        (folder / "relay.py").write_text(RELAY)
        read, write = os.pipe()
        both = f"{sys.executable} {folder}/worker.py {PORT} & exec {sys.executable} {folder}/relay.py {folder}/s {PORT}"
        sandbox = ["bwrap", "--unshare-net", "--unshare-pid", "--die-with-parent", "--dev-bind", "/", "/"]
        process(stack, *sandbox, "--info-fd", str(write), "sh", "-c", both, pass_fds=[write])
        os.close(write)
        with os.fdopen(read) as info:
            yield json.loads(info.read())["child-pid"], folder / "s"


@contextmanager
def veth_pair(pid: int) -> Iterator[str]:
    """A veth pair between our namespace and that of `pid`: the worker's address."""
    ours, theirs, inside = f"pb{pid}"[:15], f"pw{pid}"[:15], ["nsenter", f"--net=/proc/{pid}/ns/net"]
    subprocess.run(["ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", str(pid)], check=True)
    try:
        subprocess.run(["ip", "addr", "add", "10.213.77.1/30", "dev", ours], check=True)
        subprocess.run(["ip", "link", "set", ours, "up"], check=True)
        subprocess.run([*inside, "ip", "addr", "add", "10.213.77.2/30", "dev", theirs], check=True)
        subprocess.run([*inside, "ip", "link", "set", theirs, "up"], check=True)
        yield "10.213.77.2"
    finally:
        subprocess.run(["ip", "link", "del", ours], check=False)


def measured(connect: Connect) -> tuple[float, float, float]:
    """Median microseconds of a round trip of 512 bytes on an open connection, the same with a connection of its own
    each time, and MB/s one way."""
    until_connected(connect)
    message = b"e" + b"x" * 511

    def round_trip(s: socket.socket) -> None:
        s.sendall(message)
        left = len(message)
        while left:
            left -= len(s.recv(left))

    kept, fresh = [], []
    with connect() as s:
        for _ in range(ROUND_TRIPS):
            began = time.perf_counter()
            round_trip(s)
            kept.append(time.perf_counter() - began)
    for _ in range(CONNECTIONS):
        began = time.perf_counter()
        with connect() as s:
            round_trip(s)
        fresh.append(time.perf_counter() - began)
    block = b"x" * 262144
    with connect() as s:
        began = time.perf_counter()
        for _ in range(BYTES // len(block)):
            s.sendall(block)
        s.shutdown(socket.SHUT_WR)
        s.recv(1)
        rate = BYTES / (time.perf_counter() - began) / 1e6
    return statistics.median(kept) * 1e6, statistics.median(fresh) * 1e6, rate


def tcp(address: str, port: int) -> Connect:
    def connect() -> socket.socket:
        s = socket.create_connection((address, port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    return connect


def unix(path: Path) -> Connect:
    def connect() -> socket.socket:
        s = socket.socket(socket.AF_UNIX)
        s.connect(str(path))
        return s

    return connect


def made_inside(namespace: int) -> Connect:
    """As the gateway has them: the agent makes many at a time, ahead of the requests."""
    pool: list[socket.socket] = []

    def connect() -> socket.socket:
        if not pool:
            pool.extend(netns.open_sockets(namespace, netns.MAX_SOCKETS))
        s = pool.pop()
        s.setblocking(True)
        s.connect(("127.0.0.1", PORT))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    return connect


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("A veth pair can only be made by root; run this as root.")
    found: dict[str, tuple[float, float, float]] = {}
    with ExitStack() as stack:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process(stack, sys.executable, "-c", WORKER, str(port))
        found["loopback, no namespace (the limit)"] = measured(tcp("127.0.0.1", port))
        pid, relay = stack.enter_context(worker_in_namespace())
        namespace = netns.open_namespace(pid)
        stack.callback(os.close, namespace)
        found["socket made inside (Portico)"] = measured(made_inside(namespace))
        found["unix socket and a relay inside"] = measured(unix(relay))
        found["veth pair"] = measured(tcp(stack.enter_context(veth_pair(pid)), PORT))
    limit = next(iter(found.values()))
    print(f"{'':36}{'kept, µs':>16}{'fresh, µs':>16}{'MB/s':>18}")
    for name, figures in found.items():
        cells = [f"{value:.0f} ({value / best:.2f}x)" for value, best in zip(figures, limit, strict=True)]
        print(f"{name:36}{cells[0]:>16}{cells[1]:>16}{cells[2]:>18}")


if __name__ == "__main__":
    main()
