"""What a worker reaches of the world, and what it does not: in a world of network namespaces (`tests/world.py`)."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from apps.sandbox.egress import rules
from apps.spaces.models import Plan, Space
from tests.running_agent import AGENT, RunningAgent
from tests.security.egress import (
    HOLD,
    PRIVATE,
    REACHED,
    REFUSED,
    address_of,
    gateway_of,
    log_of,
    other_worker,
    packets_out,
    reach,
    send_as,
    uplinks,
)  # fmt: skip
from tests.security.spy import WAYS, Worker, space_of
from tests.waiting import wait_until
from tests.world import HOST, HOST_PRIVATE, NAME, OTHER, PORT, WORLD, World, serve

DATAGRAMS = """
for address in {!r}:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"x", (address, 53))
found = "sent"
"""
pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces of a world"),
]


@pytest.fixture(scope="module")
def agent_of_file(world: World, django_db_setup: None) -> Iterator[RunningAgent]:
    with RunningAgent(world.on_host(AGENT)) as running:
        yield running


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def spy(agent: RunningAgent, way: str) -> Worker:
    return Worker(space_of(way))


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
    assert "unreachable" in str(spy.ask("reach(socket.AF_INET6, ('fd00::1', 80))"))


def test_datagrams_to_private_networks_are_refused_too(spy: Worker, world: World) -> None:
    before = packets_out(world)
    assert spy.do(DATAGRAMS.format((*PRIVATE, WORLD))) == "sent"
    wait_until(lambda: packets_out(world) == before + 1, seconds=10)


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


def test_another_worker_and_the_router_are_refused(spy: Worker, way: str) -> None:
    other = other_worker(way)
    assert reach(spy, address_of(other), 9999) == REFUSED
    for address in (gateway_of(spy), gateway_of(other), "100.127.255.2", "100.127.255.1", rules.DNS):
        assert reach(spy, address, 80) == REFUSED, address


def test_a_false_source_address_goes_nowhere(spy: Worker, world: World) -> None:
    before = packets_out(world)
    send_as(spy, "100.64.77.77")
    send_as(spy, "8.8.4.4")
    send_as(spy, address_of(spy))
    wait_until(lambda: packets_out(world) == before + 1, seconds=10)


def test_an_app_may_not_change_its_network(spy: Worker) -> None:
    add = ["/usr/sbin/ip", "addr", "add", "100.64.9.9/32", "dev", "eth0"]
    said = spy.ask(f"__import__('subprocess').run({add}, capture_output=True).stderr.decode()")
    assert "Operation not permitted" in str(said)
    assert "Error" in str(spy.ask("str(socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))"))


def test_one_worker_cannot_take_every_connection(spy: Worker, way: str) -> None:
    spy.do("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)); found = 1")
    said = spy.do(HOLD)
    assert isinstance(said, list), said
    assert "No route to host" in said[0], said
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


def test_an_uplink_that_died_comes_back_and_workers_keep_their_link(
    agent: RunningAgent, spy: Worker, world: World
) -> None:
    assert reach(spy, WORLD) == REACHED
    (uplink,) = uplinks(world)
    os.kill(uplink, signal.SIGKILL)
    wait_until(lambda: reach(spy, WORLD) == REACHED and uplinks(world) not in ([], [uplink]), seconds=60)
    assert reach(spy, HOST) == REFUSED
