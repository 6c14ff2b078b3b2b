"""A plan's replicas: several workers of one Space that come, stand in for each other, and end together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from apps.runtime import client
from apps.runtime.models import Worker
from apps.runtime.selectors import run_facts
from apps.spaces import plans
from apps.spaces import services as spaces
from apps.spaces.logs import read_log
from apps.spaces.models import Plan, Space, Stage
from tests.running_agent import (
    RunningAgent,
    bare_environment,
    deploy,
    ensure,
    fetch,
    sleeping_space,
    stage_of,
    wait_for_stage,
)
from tests.runtime.keepers import ON_REQUEST, ask, keeping, loop_devices
from tests.runtime.test_agent_ends import cgroups
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

APP = ON_REQUEST + "serve(Does)\n"


@pytest.fixture
def drowsy_agent(lent_agent: Callable[..., RunningAgent]) -> RunningAgent:
    return lent_agent(PORTICO_SLEEP_SECONDS="2", PORTICO_WORKER_RESTARTS="1")


def replicated(files: str = APP, replicas: int = 2, **fields: Any) -> Space:
    plan = Plan.objects.create(slug=f"replicas-{Plan.objects.count()}", name="Of this test", replicas=replicas)
    space = sleeping_space(files, environment=bare_environment(), **fields)
    plans.choose_plan(space, plan.slug)
    return space


def serving(space: Space) -> list[client.RunningWorker]:
    """Its workers that answer, the first one first."""
    first = ensure(space)
    return [first, *first.others]


def all_of(space: Space, count: int) -> list[client.RunningWorker]:
    """Its workers, once there are so many."""
    return wait_until(lambda: len(found := serving(space)) == count and found)


def rows(space: Space) -> list[Worker]:
    return list(Worker.objects.filter(space=space).exclude(state=Worker.State.ENDED))


def run_log(space: Space) -> str:
    return read_log(space.pk, "run")[1].decode()


def die(worker: client.RunningWorker) -> None:
    with contextlib.suppress(AssertionError, OSError):
        fetch(worker, "/die")


def test_a_space_gets_as_many_workers_as_its_plan_grants_and_the_first_answers_alone(agent: RunningAgent) -> None:
    space = replicated(replicas=3)
    assert ensure(space).others == (), "a wake waits for one"
    assert stage_of(space) == Stage.RUNNING
    workers = all_of(space, 3)
    assert [fetch(worker) for worker in workers] == ["hello"] * 3
    assert {row.pk for row in rows(space)} == {worker.id for worker in workers}
    assert {worker.deployment_id for worker in workers} == {workers[0].deployment_id}
    listed = asyncio.run(client.agent_status())["workers"]
    assert {w["id"] for w in listed if w["ready"]} == {str(worker.id) for worker in workers}
    assert [change.stage for change in space.stage_changes.order_by("pk")] == [Stage.APP_STARTING, Stage.RUNNING]


@pytest.mark.parametrize("while_starting", [False, True])
def test_all_of_them_end_when_it_is_paused(agent: RunningAgent, while_starting: bool) -> None:
    space = replicated(replicas=3)
    first = ensure(space)
    wait_until(lambda: len(rows(space)) == (2 if while_starting else 3))
    spaces.pause_space(space)
    asyncio.run(client.stop_worker(space.pk))
    assert rows(space) == []
    assert space.pk not in {w["space"] for w in asyncio.run(client.agent_status())["workers"]}
    with pytest.raises(client.WorkerGone):
        asyncio.run(client.worker_sockets(first.id, 1))
    assert stage_of(space) == Stage.PAUSED


def test_a_job_of_any_of_them_keeps_all_awake_and_then_they_sleep_together(drowsy_agent: RunningAgent) -> None:
    space = replicated()
    _, other = all_of(space, 2)
    assert fetch(other, "/job") == "hello"
    wait_for_stage(space, Stage.SLEEPING)
    wait_until(lambda: rows(space) == [])
    assert "job done" in run_log(space)
    assert run_log(space).count("asleep until somebody comes") == 2
    assert fetch(all_of(space, 2)[1]) == "hello", "and wake again"


def test_one_that_crashes_is_started_again_while_the_other_serves(agent: RunningAgent) -> None:
    space = replicated()
    first, other = all_of(space, 2)
    die(other)
    told = "It ended with exit code 7. 1 of 2 workers answers. Another is started in 1 s (1 of 3)."
    wait_until(lambda: told in run_log(space))
    assert fetch(first) == "hello"
    again = all_of(space, 2)
    assert again[0].id == first.id and again[1].id not in (first.id, other.id)
    assert Worker.objects.get(pk=other.id).end_reason == told
    assert not space.stage_changes.filter(stage=Stage.RUNTIME_ERROR).exists()


def test_when_the_first_one_crashes_the_next_takes_its_place(agent: RunningAgent) -> None:
    space = replicated()
    first, other = all_of(space, 2)
    die(first)
    wait_until(lambda: serving(space)[0].id == other.id)
    assert fetch(other) == "hello"
    assert all_of(space, 2)[0].id == other.id
    assert [change.stage for change in space.stage_changes.order_by("pk")] == [Stage.APP_STARTING, Stage.RUNNING]


def test_when_the_last_one_crashes_it_is_a_runtime_error_that_is_mended(drowsy_agent: RunningAgent) -> None:
    space = replicated()
    for worker in all_of(space, 2):
        die(worker)
    wait_until(lambda: space.stage_changes.filter(stage=Stage.RUNTIME_ERROR).exists())
    assert "It ended with exit code 7." in space.stage_changes.get(stage=Stage.RUNTIME_ERROR).message
    wait_for_stage(space, Stage.RUNNING)
    all_of(space, 2)


def test_one_that_never_comes_up_is_tried_a_bounded_number_of_times(drowsy_agent: RunningAgent) -> None:
    """All keep the same files, so that only the first of them starts."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount what a Space keeps")
    only_once = "import os\nos.open('/data/taken', os.O_CREAT | os.O_EXCL)\n"
    space = keeping(replicas=3)
    deploy(space, only_once + APP, environment=bare_environment())
    Space.objects.filter(pk=space.pk).update(sleep_seconds=0)
    Plan.objects.update(may_never_sleep=True)
    first = ensure(space)
    wait_until(lambda: run_log(space).count("No other is started by itself") == 2)
    assert run_log(space).count("1 of 3 workers answers. Another is started in 1 s (1 of 1).") == 2
    assert Worker.objects.filter(space=space).count() == 1 + 2 * 2
    assert [row.pk for row in rows(space)] == [first.id]
    assert fetch(first) == "hello" and stage_of(space) == Stage.RUNNING


def test_a_new_deployment_replaces_all_of_them(agent: RunningAgent) -> None:
    space = replicated()
    formers = all_of(space, 2)
    deploy(space, APP.replace("hello", "changed"), environment=bare_environment())
    asyncio.run(client.restart_worker(space.pk))
    wait_until(lambda: ensure(space).id not in {former.id for former in formers})
    wait_until(lambda: run_facts(space).replicas == 1, what=lambda: "those that were replaced count no more")
    assert [fetch(former) for former in formers] == ["hello", "hello"], "gateways may still lead here for a moment"
    workers = all_of(space, 2)
    assert [fetch(worker) for worker in workers] == ["changed", "changed"]
    wait_until(lambda: {row.pk for row in rows(space)} == {worker.id for worker in workers})
    assert [change.stage for change in space.stage_changes.order_by("pk")][-1] == stage_of(space) == Stage.RUNNING


def test_restarts_that_overlap_leave_as_many_as_there_should_be(agent: RunningAgent) -> None:
    space = replicated(replicas=3)
    ensure(space)
    for _ in range(3):
        asyncio.run(client.restart_worker(space.pk))
    wait_until(lambda: len(rows(space)) == len(serving(space)) == 3)
    started = Worker.objects.filter(space=space).count()
    assert fetch(ensure(space)) == "hello"
    assert (len(rows(space)), Worker.objects.filter(space=space).count()) == (3, started)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount what a Space keeps")
def test_they_see_the_same_files_and_the_mount_is_there_until_the_last_is_gone(agent: RunningAgent) -> None:
    space = keeping(replicas=2)
    workers = all_of(space, 2)
    assert ask(space, "pathlib.Path('/data/x').write_text('shared')") == 6
    said = [fetch(worker, "/?eval=pathlib.Path('/data/x').read_text()") for worker in workers]
    assert said == ['"shared"', '"shared"']
    assert loop_devices().count(space.repository.hex) == 1
    with contextlib.suppress(AssertionError, OSError):
        fetch(workers[0], "/?eval=os._exit(7)")
    wait_until(lambda: serving(space)[0].id == workers[1].id)
    assert ask(space, "pathlib.Path('/data/x').read_text()") == "shared"
    asyncio.run(client.stop_worker(space.pk))
    assert space.repository.hex not in loop_devices()


def test_a_killed_agent_leaves_none_of_them(transactional_db: None) -> None:
    with RunningAgent() as agent:
        space = replicated(replicas=3)
        formers = {worker.id for worker in all_of(space, 3)}
        before = len(cgroups())
        assert before
        agent.stop(signal.SIGKILL)
        agent.start()
        wait_for_stage(space, Stage.SLEEPING)
        assert rows(space) == []
        assert set(Worker.objects.values_list("end_reason", flat=True)) == {"The agent was restarted."}
        assert not formers & {worker.id for worker in all_of(space, 3)}
        assert agent.stop() == 0
        assert cgroups() == [] and rows(space) == []
