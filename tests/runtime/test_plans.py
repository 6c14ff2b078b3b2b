"""A plan's numbers are what its worker really gets, and what its owner is told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from apps.runtime import client
from apps.runtime.models import Worker
from apps.runtime.selectors import start_plan
from apps.spaces import plans
from apps.spaces.models import Plan, Space, Stage
from tests.running_agent import (
    SERVER,
    RunningAgent,
    bare_environment,
    ensure,
    fetch,
    sleeping_space,
    stage_of,
    wait_for_stage,
)
from tests.runtime.keepers import KEEPER, MIB, ask
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


def with_plan(files: str = KEEPER, *, way: str = "fork", **fields: Any) -> Space:
    plan = Plan.objects.create(slug=f"plan-{Plan.objects.count()}", name="Of this test", **fields)
    space = sleeping_space(files, environment=bare_environment() if way == "fork" else None)
    plans.choose_plan(space, plan.slug)
    return space


def worker_of(space: Space) -> dict[str, Any]:
    found = asyncio.run(client.agent_status())["workers"]
    return next(worker for worker in found if worker["space"] == space.pk)


def test_memory_beyond_it_ends_the_space_with_its_number(agent: RunningAgent) -> None:
    space = with_plan(KEEPER, memory_bytes=96 * MIB)
    ensure(space)
    with pytest.raises((AssertionError, OSError, TimeoutError)):
        ask(space, "bytearray(200 * 2**20)[::4096].count(1)")
    wait_until(lambda: space.stage_changes.filter(stage=Stage.RUNTIME_ERROR).exists())
    told = space.stage_changes.filter(stage=Stage.RUNTIME_ERROR).latest("pk").message
    assert "It used more memory than the 96 MiB it may have, and was ended." in told


@pytest.mark.parametrize("way", ["fork", "fresh"])
def test_a_file_may_be_as_large_as_the_disk_and_no_larger(agent: RunningAgent, way: str) -> None:
    space = with_plan(way=way, disk_bytes=40 * MIB)
    told, written = ask(space, "fill('/tmp/big', 64)")
    assert told == "ENOSPC" and 38 <= written <= 40
    assert stage_of(space) == Stage.RUNNING


@pytest.mark.parametrize("way", ["fork", "fresh"])
def test_a_busy_loop_under_half_a_cpu_gets_half_of_one(agent: RunningAgent, way: str) -> None:
    """By its control group's own counter of processor time."""
    spin = "import threading\ndef spin():\n    while True:\n        pass\nthreading.Thread(target=spin).start()\n"
    busy = f"{SERVER}{spin}serve()\n"
    space = with_plan(busy, way=way, cpus=0.5, processes=64)
    ensure(space)
    before, after = worker_of(space), None

    def has_run() -> bool:
        nonlocal after
        after = worker_of(space)
        return bool(after["seconds"] - before["seconds"] > 6)

    wait_until(has_run)
    assert after is not None
    share = (after["cpu_seconds"] - before["cpu_seconds"]) / (after["seconds"] - before["seconds"])
    assert share < 0.6, "no more than its plan's, however idle the machine is"
    assert share > 0.2, "and a good part of that even on a busy one"


def test_processes_beyond_it_are_refused_to_the_app(agent: RunningAgent) -> None:
    forks = KEEPER.replace(
        "class Does",
        """
def forked():
    children = 0
    try:
        while children < 200:
            if os.fork() == 0:
                import time
                time.sleep(1000)
            children += 1
    except OSError as error:
        return [children, errno.errorcode[error.errno]]
    return [children, "all"]
class Does""",
    )
    space = with_plan(forks, processes=30)
    children, told = ask(space, "forked()")
    assert told == "EAGAIN" and 10 < children < 30


def test_sleep_time_follows_the_plan(agent: RunningAgent) -> None:
    space = with_plan(sleep_seconds=1)
    ensure(space)
    wait_for_stage(space, Stage.SLEEPING)
    awake = with_plan(sleep_seconds=0)
    assert start_plan(awake.pk).sleep_seconds == 0


def test_a_plan_that_changes_counts_at_the_next_start(agent: RunningAgent) -> None:
    space = with_plan(disk_bytes=8 * MIB)
    assert ask(space, "fill('/tmp/big', 12)")[0] == "ENOSPC"
    assert Worker.objects.get(space=space).given["disk_bytes"] == 8 * MIB
    Plan.objects.update(disk_bytes=16 * MIB)
    assert ask(space, "fill('/tmp/big', 12)")[0] == "ENOSPC"
    former = ensure(space).id
    asyncio.run(client.restart_worker(space.pk))
    wait_until(lambda: ensure(space).id != former)
    assert ask(space, "fill('/tmp/big', 12)") == ["written", 12]


def test_what_else_a_plan_says_is_handed_on(db: None) -> None:
    space = with_plan(egress=False, replicas=3, storage_bytes=0)
    start = start_plan(space.pk)
    assert (start.spec.egress, start.replicas, start.spec.storage) == (False, 3, None)
    assert json.dumps(start.given)
    Space.objects.filter(pk=space.pk).update(plan=None)
    start = start_plan(space.pk)
    assert (start.spec.egress, start.replicas) == (True, 1)


def test_the_page_knows_how_it_was_started(agent: RunningAgent) -> None:
    from apps.spaces.runs import run_facts

    forked, fresh = with_plan(), with_plan(way="fresh")
    assert fetch(ensure(forked)) == fetch(ensure(fresh)) == "hello"
    assert run_facts(forked).way.startswith("by a fork of a process that had imported its packages")
    assert run_facts(fresh).way == "by a fresh interpreter: it has no packages to import"
    assert run_facts(forked).is_running
    assert run_facts(forked).given["plan"] == forked.plan_id
