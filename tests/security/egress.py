"""How the tests of egress look at a worker's network, from inside and from outside."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from apps.sandbox.egress import rules
from apps.spaces.logs import read_log
from apps.spaces.models import Space
from tests.running_agent import processes_mentioning
from tests.security.spy import Worker, space_of
from tests.world import PORT, WORLD, World

PRIVATE = ("169.254.169.254", "10.99.0.1", "192.168.99.1", "172.16.9.1", "100.100.0.1")
"""In the world of these tests they answer, were they asked."""
REFUSED = "OSError: [Errno 113] No route to host"
REACHED = "reached"


def reach(worker: Worker, address: str, port: int = PORT) -> object:
    return worker.ask(f"reach(socket.AF_INET, ({address!r}, {port}))")


def address_of(worker: Worker) -> str:
    """In the network between workers and router."""
    return str(
        in_network_of(worker, "ip", "-json", "address", "show", "eth0", as_json=True)[0]["addr_info"][0]["local"]
    )


def in_network_of(worker: Worker, *command: str, as_json: bool = False) -> list[dict]:
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{worker.init}/ns/net", *command], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout) if as_json else []


def gateway_of(worker: Worker) -> str:
    routes = in_network_of(worker, "ip", "-json", "route", as_json=True)
    return next(str(route["gateway"]) for route in routes if route["dst"] == "default")


def log_of(space: Space) -> str:
    return read_log(space.pk, "run")[1].decode()


def other_worker(way: str) -> Worker:
    other = Worker(space_of(way))
    other.do("import builtins; builtins.kept = socket.create_server(('0.0.0.0', 9999)); found = 1")
    return other


SPOOF = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind((sys.argv[1], 0))
    s.sendto(b"x", (sys.argv[2], 8080))
"""


def packets_out(world: World) -> int:
    """UDP datagrams that came to the world for no listener."""
    command = ["nsenter", f"--net=/run/netns/{world.world}", "cat", "/proc/net/snmp"]
    udp = [line.split() for line in subprocess.check_output(command, text=True).splitlines() if line.startswith("Udp:")]
    return int(udp[1][udp[0].index("NoPorts")])


def send_as(worker: Worker, source: str) -> None:
    """What a worker that had rights over its own network could try: another source address."""
    in_network_of(worker, "ip", "addr", "replace", f"{source}/32", "dev", "lo")
    in_network_of(worker, sys.executable, "-c", SPOOF, source, WORLD)


HOLD = f"""
import builtins, socket
builtins.held = held = getattr(builtins, "held", [])
found = "all"
for _ in range({rules.CONNECTIONS} + 20):
    s = socket.socket()
    s.settimeout(5)
    try:
        s.connect(({WORLD!r}, {PORT}))
    except OSError as error:
        found = [str(error), len(held)]
        break
    held.append(s)
"""


def uplinks(world: World) -> list[int]:
    """pasta of agents in this world; by its host's network namespace."""
    inode = Path(f"/run/netns/{world.host}").stat().st_ino
    found = []
    for pid in processes_mentioning("--netns-only"):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/ns/net").stat().st_ino == inode:
                found.append(pid)
    return found


def namespaces(*pids: int) -> set[int]:
    """Network namespaces that these processes, or all of this machine, are in or hold a descriptor of."""
    found = set()
    for entry in [Path(f"/proc/{pid}") for pid in pids] or Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found.add((entry / "ns" / "net").stat().st_ino)
            with contextlib.suppress(OSError):
                for descriptor in (entry / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        if str(descriptor.readlink()).startswith("net:["):
                            found.add(int(str(descriptor.readlink())[5:-1]))
    return found
