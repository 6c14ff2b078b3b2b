"""The same egress where the agent is an ordinary user: one who may open /dev/net/tun, and nothing else of root's."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from apps.sandbox.egress import rules
from apps.spaces.models import Plan, Space
from tests.ordinary import USER, as_user, owned
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
from tests.security.spy import Worker, space_of
from tests.waiting import wait_until
from tests.world import HOST, HOST_PRIVATE, NAME, OTHER, PORT, WORLD, World, serve

pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces of a world, and another user"),
]


@pytest.fixture(scope="module")
def agent_of_file(world: World, django_db_setup: None) -> Iterator[RunningAgent]:
    with owned(Path(settings.PORTICO_DATA)), RunningAgent(world.on_host(as_user(AGENT))) as running:
        yield running


@pytest.fixture
def spy(agent: RunningAgent) -> Worker:
    return Worker(space_of("fresh"))


def test_the_world_is_reached_by_address_and_by_name(agent: RunningAgent, spy: Worker, world: World) -> None:
    assert agent.process is not None
    assert Path(f"/proc/{agent.process.pid}").stat().st_uid == USER
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in uplinks(world)} == {USER}
    fetch = "__import__('urllib.request').request.urlopen('http://{}:{}/', timeout=5).read().decode()"
    assert spy.ask(fetch.format(WORLD, PORT)) == HOST, "the world sees this machine's address"
    assert spy.ask(fetch.format(NAME, PORT)) == HOST
    assert "without access" not in log_of(spy.space)


def test_what_is_refused_to_root_s_workers_is_refused(spy: Worker) -> None:
    other = other_worker("forked")
    addresses = (*PRIVATE, HOST, HOST_PRIVATE)
    for address in addresses:  # the kernel says no to a few packets a second alone, and is silent to others
        wait_until(lambda address=address: reach(spy, address) == REFUSED, seconds=10)
    assert "refused" in str(reach(spy, "127.0.0.1")), "its own, and not the host's, where something listens"
    wait_until(lambda: reach(spy, address_of(other), 9999) == REFUSED, seconds=10)
    for address in (gateway_of(spy), gateway_of(other), "100.127.255.2", "100.127.255.1", rules.DNS):
        wait_until(lambda address=address: reach(spy, address, 80) == REFUSED, seconds=10)


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


def test_an_app_may_not_change_its_network(spy: Worker, world: World) -> None:
    """Its user made the router, its rules and its own device; it has no rights over any of them."""
    status = str(spy.ask("open('/proc/self/status').read()"))
    rights = dict(line.split(":\t") for line in status.splitlines() if line.startswith(("Cap", "NoNewPrivs")))
    assert set(rights.values()) == {"0000000000000000", "1"}, rights
    for command in (
        ["/usr/sbin/ip", "addr", "add", "100.64.9.9/32", "dev", "eth0"],
        ["/usr/sbin/nft", "flush", "ruleset"],
        ["/usr/bin/unshare", "--user", "--net", "true"],
    ):
        assert spy.ask(f"__import__('subprocess').run({command}, capture_output=True).returncode") != 0, command
    before = packets_out(world)
    send_as(spy, "8.8.4.4")
    send_as(spy, address_of(spy))
    wait_until(lambda: packets_out(world) == before + 1, seconds=10)


def test_one_worker_cannot_take_every_connection(spy: Worker) -> None:
    spy.do("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)); found = 1")
    said = spy.do(HOLD)
    assert isinstance(said, list), said
    assert "No route to host" in said[0], said
    assert said[1] <= rules.CONNECTIONS
    assert reach(Worker(space_of("fresh")), WORLD) == REACHED


def test_a_plan_without_egress_leaves_loopback_alone(agent: RunningAgent) -> None:
    space = space_of("fresh")
    plan, _ = Plan.objects.get_or_create(slug="closed", defaults={"name": "Closed", "egress": False})
    Space.objects.filter(pk=space.pk).update(plan=plan)
    worker = Worker(space)
    assert worker.ask("[name for _, name in socket.if_nameindex()]") == ["lo"]
    assert "unreachable" in str(reach(worker, WORLD))


def test_an_uplink_that_died_comes_back_and_workers_keep_their_link(spy: Worker, world: World) -> None:
    assert reach(spy, WORLD) == REACHED
    (uplink,) = uplinks(world)
    os.kill(uplink, signal.SIGKILL)
    wait_until(lambda: reach(spy, WORLD) == REACHED and uplinks(world) not in ([], [uplink]), seconds=60)
    assert reach(spy, HOST) == REFUSED
