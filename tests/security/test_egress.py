"""What a worker reaches of the world, and what it does not: in a world of network namespaces (`tests/world.py`)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.sandbox.egress import rules
from apps.spaces.logs import read_log
from apps.spaces.models import Plan, Space
from tests.running_agent import AGENT, RunningAgent, processes_mentioning, shared, wait_until
from tests.security.spy import WAYS, Worker, space_of
from tests.world import HOST, HOST_PRIVATE, NAME, OTHER, PORT, WORLD, World, a_world, serve

pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces of a world"),
]

PRIVATE = ("169.254.169.254", "10.99.0.1", "192.168.99.1", "172.16.9.1", "100.100.0.1")
"""In the world of these tests they answer, were they asked."""
REFUSED = "OSError: [Errno 113] No route to host"
REACHED = "reached"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with a_world() as made:
        yield made


@pytest.fixture(scope="module")
def agent_in_world(world: World, django_db_setup: None) -> Iterator[RunningAgent]:
    with RunningAgent(world.on_host(AGENT)) as running:
        yield running


@pytest.fixture
def agent(agent_in_world: RunningAgent, transactional_db: None) -> Iterator[RunningAgent]:
    with shared(agent_in_world):
        yield agent_in_world


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def spy(agent: RunningAgent, way: str) -> Worker:
    return Worker(space_of(way))


@contextlib.contextmanager
def without(world: World, *walls: str) -> Iterator[None]:
    with RunningAgent(world.on_host([sys.executable, "-m", "tests.security.weakened", *walls])):
        yield


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
    return read_log(space.pk, "run").data.decode()


def test_the_world_is_reached_by_address_and_by_name(spy: Worker) -> None:
    fetch = "__import__('urllib.request').request.urlopen('http://{}:{}/', timeout=5).read().decode()"
    assert spy.ask(fetch.format(WORLD, PORT)) == HOST, "the world sees this machine's address"
    assert spy.ask(f"socket.gethostbyname({NAME!r})") == WORLD
    assert spy.ask(fetch.format(NAME, PORT)) == HOST
    assert "Name or service not known" in str(spy.ask("socket.gethostbyname('absent.example.org')"))


def test_a_large_answer_comes_whole(spy: Worker) -> None:
    size = 20_000_000
    got = spy.ask(
        f"len(__import__('urllib.request').request.urlopen('http://{WORLD}:{PORT}/{size}', timeout=30).read())"
    )
    assert got == size


def test_private_networks_and_metadata_are_refused_at_once(spy: Worker) -> None:
    assert {address: reach(spy, address) for address in PRIVATE} == dict.fromkeys(PRIVATE, REFUSED)
    assert reach(spy, "224.0.0.1") == REFUSED or "unreachable" in str(reach(spy, "224.0.0.1"))


def test_this_machine_is_refused(spy: Worker) -> None:
    """Where the portal listens: at any address of the host. The worker's own loopback is another."""
    for address in (HOST, HOST_PRIVATE):
        assert reach(spy, address) == REFUSED
    assert "refused" in str(reach(spy, "127.0.0.1"))


def test_an_address_that_this_machine_gets_later_is_refused_too(spy: Worker, world: World) -> None:
    assert reach(spy, OTHER) == REACHED
    subprocess.run(["ip", "-n", world.host, "addr", "add", f"{OTHER}/32", "dev", "lo"], check=True)
    server = serve(world.host, OTHER, "")
    try:
        wait_until(lambda: reach(spy, OTHER) == REFUSED, seconds=10)
    finally:
        server.kill()
        server.wait()
        subprocess.run(["ip", "-n", world.host, "addr", "del", f"{OTHER}/32", "dev", "lo"], check=True)
    wait_until(lambda: reach(spy, OTHER) == REACHED, seconds=10)


def other_worker(way: str) -> Worker:
    other = Worker(space_of(way))
    other.do("import builtins; builtins.kept = socket.create_server(('0.0.0.0', 9999)); found = 1")
    return other


def test_another_worker_and_the_router_are_refused(spy: Worker, way: str) -> None:
    other = other_worker(way)
    assert reach(spy, address_of(other), 9999) == REFUSED
    for address in (gateway_of(spy), gateway_of(other), "100.127.255.2", "100.127.255.1", rules.DNS):
        assert reach(spy, address, 80) == REFUSED, address


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


def test_a_false_source_address_goes_nowhere(spy: Worker, world: World) -> None:
    before = packets_out(world)
    send_as(spy, "100.64.77.77")
    send_as(spy, "8.8.4.4")
    send_as(spy, address_of(spy))
    wait_until(lambda: packets_out(world) == before + 1, seconds=10)


def test_an_app_may_not_change_its_network(spy: Worker) -> None:
    add = "__import__('subprocess').run(['/usr/sbin/ip', 'addr', 'add', '100.64.9.9/32', 'dev', 'eth0'], capture_output=True)"
    assert "Operation not permitted" in str(spy.ask(f"{add}.stderr.decode()"))
    assert "Error" in str(spy.ask("str(socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))"))


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


def test_one_worker_cannot_take_every_connection(spy: Worker, way: str) -> None:
    spy.do("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)); found = 1")
    said = spy.do(HOLD)
    assert isinstance(said, list), said
    assert "No route to host" in said[0]
    assert said[1] <= rules.CONNECTIONS
    assert reach(Worker(space_of(way)), WORLD) == REACHED


def test_a_plan_without_egress_leaves_loopback_alone(agent: RunningAgent, way: str) -> None:
    for _ in range(2):  # the second fork is of a spare child that had a link already
        space = space_of(way)
        plan, _ = Plan.objects.get_or_create(slug="closed", defaults={"name": "Closed", "egress": False})
        Space.objects.filter(pk=space.pk).update(plan=plan)
        worker = Worker(space)
        assert worker.ask("[name for _, name in socket.if_nameindex()]") == ["lo"]
        assert "unreachable" in str(reach(worker, WORLD))
        assert "without access" not in log_of(space)


def test_a_machine_without_a_way_out_says_so(way: str, transactional_db: None) -> None:
    with RunningAgent(PORTICO_EGRESS="none"):
        space = space_of(way)
        worker = Worker(space)
        assert worker.ask("[name for _, name in socket.if_nameindex()]") == ["lo"]
        wait_until(lambda: "without access to the internet (PORTICO_EGRESS is none)" in log_of(space), seconds=10)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_agent_that_ends_leaves_nothing(world: World, way: str, transactional_db: None, number: int) -> None:
    before = namespaces()
    with RunningAgent(world.on_host(AGENT)) as agent:
        assert reach(Worker(space_of(way)), WORLD) == REACHED
        assert uplinks(world)
        assert len(namespaces()) > len(before)
        agent.stop(number)
        wait_until(lambda: not uplinks(world), seconds=5)
        wait_until(lambda: namespaces() <= before, seconds=10)
    devices = subprocess.check_output(["ip", "-n", world.host, "-json", "link"])
    assert {d["ifname"] for d in json.loads(devices)} == {"lo", "eth0"}
    assert subprocess.check_output(["nsenter", f"--net=/run/netns/{world.host}", "nft", "list", "ruleset"]) == b""


def test_an_uplink_that_died_comes_back_and_workers_keep_their_link(
    agent: RunningAgent, spy: Worker, world: World
) -> None:
    assert reach(spy, WORLD) == REACHED
    (uplink,) = uplinks(world)
    os.kill(uplink, signal.SIGKILL)
    wait_until(lambda: reach(spy, WORLD) == REACHED and uplinks(world) not in ([], [uplink]), seconds=60)
    assert reach(spy, HOST) == REFUSED


def uplinks(world: World) -> list[int]:
    """pasta of agents in this world; by its host's network namespace."""
    inode = Path(f"/run/netns/{world.host}").stat().st_ino
    found = []
    for pid in processes_mentioning("--netns-only"):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/ns/net").stat().st_ino == inode:
                found.append(pid)
    return found


def namespaces() -> set[int]:
    """Network namespaces that processes of this machine are in or hold a descriptor of."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found.add((entry / "ns" / "net").stat().st_ino)
            with contextlib.suppress(OSError):
                for descriptor in (entry / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        if str(descriptor.readlink()).startswith("net:["):
                            found.add(int(str(descriptor.readlink())[5:-1]))
    return found


class TestWithoutAWall:
    """Each rule does something: without it, the attack that it refuses succeeds."""

    def test_private_networks(self, world: World, way: str, transactional_db: None) -> None:
        with without(world, "egress_private"):
            worker = Worker(space_of(way))
            assert {address: reach(worker, address) for address in PRIVATE} == dict.fromkeys(PRIVATE, REACHED)
            assert reach(worker, HOST_PRIVATE) == REFUSED, "the next wall: it is this machine's"

    def test_this_machine(self, world: World, way: str, transactional_db: None) -> None:
        with without(world, "egress_host"):
            worker = Worker(space_of(way))
            assert reach(worker, HOST) == REACHED
            assert reach(worker, HOST_PRIVATE) == REFUSED, "the next wall: it is private"

    def test_other_workers(self, world: World, way: str, transactional_db: None) -> None:
        with without(world, "egress_workers"):
            worker, other = Worker(space_of(way)), other_worker(way)
            assert reach(worker, address_of(other), 9999) == REACHED

    def test_the_router(self, world: World, way: str, transactional_db: None) -> None:
        """Nothing listens in it, so what could be reached is its kernel's refusal."""
        with without(world, "egress_router"):
            worker = Worker(space_of(way))
            assert "refused" in str(reach(worker, gateway_of(worker), 80))

    def test_false_sources(self, world: World, way: str, transactional_db: None) -> None:
        with without(world, "egress_spoofed"):
            worker = Worker(space_of(way))
            before = packets_out(world)
            send_as(worker, "8.8.4.4")
            wait_until(lambda: packets_out(world) == before + 1, seconds=10)

    def test_connections(self, world: World, way: str, transactional_db: None) -> None:
        with without(world, "egress_connections"):
            worker = Worker(space_of(way))
            worker.do("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)); found = 1")
            assert worker.do(HOLD) == "all"
