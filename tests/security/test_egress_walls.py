"""Egress of agents that have something else than usual: no leave to have any, an end, or a rule less."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from django.conf import settings

from tests.ordinary import as_user, owned
from tests.running_agent import AGENT, RunningAgent
from tests.security.egress import (
    HOLD,
    PRIVATE,
    REACHED,
    REFUSED,
    address_of,
    gateway_of,
    log_of,
    namespaces,
    other_worker,
    packets_out,
    reach,
    send_as,
    uplinks,
)
from tests.security.spy import WAYS, Worker, space_of
from tests.waiting import wait_until
from tests.world import HOST, HOST_PRIVATE, WORLD, World

pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces of a world"),
]


@contextlib.contextmanager
def without(world: World, *walls: str) -> Iterator[None]:
    with RunningAgent(world.on_host([sys.executable, "-m", "tests.security.weakened", *walls])):
        yield


def both_ways() -> Iterator[tuple[str, Worker]]:
    """One agent serves for both: to start one takes longer than all that is asked of its workers."""
    for way in WAYS:
        yield way, Worker(space_of(way))


@pytest.mark.parametrize("why", ["PORTICO_EGRESS is none", "this machine has no default route"])
def test_egress_that_is_turned_off_or_impossible_is_told(world: World, transactional_db: None, why: str) -> None:
    off = RunningAgent(PORTICO_EGRESS="none")
    with off if "PORTICO_EGRESS" in why else RunningAgent(world.on_host(AGENT, routes=False)):
        for _, worker in both_ways():
            assert worker.ask("[name for _, name in socket.if_nameindex()]") == ["lo"]
            said = f"without access to the internet ({why}"
            wait_until(lambda: said in log_of(worker.space), seconds=10)  # noqa: B023 awaited here


def test_an_ordinary_user_without_a_tun_device_is_told_what_to_do(world: World, transactional_db: None) -> None:
    with owned(Path(settings.PORTICO_DATA)), RunningAgent(world.on_host(as_user(AGENT, tun="600"))):
        space = space_of("fresh")
        assert Worker(space).ask("[name for _, name in socket.if_nameindex()]") == ["lo"]
        said = "without access to the internet (/dev/net/tun is not for the agent's user, its mode is 600: make it 666"
        wait_until(lambda: said in log_of(space), seconds=10)


TRY = "import json; from apps.sandbox import report; print(json.dumps(report._egress(True)))"


def test_the_report_says_what_holds(world: World) -> None:
    def told(command: list[str]) -> dict:
        return json.loads(subprocess.check_output(command, text=True))

    python = [sys.executable, "-c", TRY]
    there = told(world.on_host(python))
    assert there["ok"], there
    assert "names are resolved" in there["detail"]
    assert told(world.on_host(as_user(python))) == there
    barred = told(world.on_host(as_user(python, tun="600")))
    assert (barred["ok"], barred["needed"]) == (False, False)
    assert "make it 666" in barred["detail"]
    without = told(world.on_host(python, routes=False))
    assert (without["ok"], without["needed"]) == (False, False)
    assert "no default route" in without["detail"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_agent_that_ends_leaves_nothing(world: World, transactional_db: None, number: int) -> None:
    leave_nothing(world, AGENT, WAYS, number)


def test_an_ordinary_user_s_agent_that_is_killed_leaves_nothing(world: World, transactional_db: None) -> None:
    with owned(Path(settings.PORTICO_DATA)):
        leave_nothing(world, as_user(AGENT), ("fresh",), signal.SIGKILL)


def leave_nothing(world: World, command: list[str], ways: Sequence[str], number: int) -> None:
    with RunningAgent(world.on_host(command)) as agent:
        workers = [Worker(space_of(way)) for way in ways]
        for worker in workers:
            assert reach(worker, WORLD) == REACHED
        assert uplinks(world)
        assert agent.process is not None
        host = Path(f"/run/netns/{world.host}").stat().st_ino
        made = namespaces(agent.process.pid, *(worker.init for worker in workers)) - {host}
        assert len(made) > len(workers), "the router's and the workers'; the report may be trying others"
        agent.stop(number)
        wait_until(lambda: not uplinks(world), seconds=5)
        wait_until(lambda: not made & namespaces(), seconds=10)
    devices = subprocess.check_output(["ip", "-n", world.host, "-json", "link"])
    assert {d["ifname"] for d in json.loads(devices)} == {"lo", "eth0"}
    assert subprocess.check_output(["nsenter", f"--net=/run/netns/{world.host}", "nft", "list", "ruleset"]) == b""


class TestWithoutAWall:
    """Each rule does something: without it, the attack that it refuses succeeds."""

    def test_private_networks(self, world: World, transactional_db: None) -> None:
        with without(world, "egress_private"):
            for _, worker in both_ways():
                assert {address: reach(worker, address) for address in PRIVATE} == dict.fromkeys(PRIVATE, REACHED)
                assert reach(worker, HOST_PRIVATE) == REFUSED, "the next wall: it is this machine's"

    def test_this_machine(self, world: World, transactional_db: None) -> None:
        with without(world, "egress_host"):
            for _, worker in both_ways():
                assert reach(worker, HOST) == REACHED
                assert reach(worker, HOST_PRIVATE) == REFUSED, "the next wall: it is private"

    def test_other_workers_the_router_false_sources_and_connections(self, world: World, transactional_db: None) -> None:
        """None of these rules sees what another of them refuses, so all are gone at once."""
        with without(world, "egress_workers", "egress_router", "egress_spoofed", "egress_connections"):
            for way, worker in both_ways():
                assert reach(worker, address_of(other_worker(way)), 9999) == REACHED
                assert "refused" in str(reach(worker, gateway_of(worker), 80)), "by its kernel: nothing listens in it"
                before = packets_out(world)
                send_as(worker, "8.8.4.4")
                wait_until(lambda: packets_out(world) == before + 1, seconds=10)  # noqa: B023 awaited here
                worker.do("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)); found = 1")
                assert worker.do(HOLD) == "all"
