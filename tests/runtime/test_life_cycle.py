"""From a visit to sleep, with a real agent and real sandboxes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from apps.builds.signals import deployment_created
from apps.runtime import client, services, tasks
from apps.runtime.models import Node, Worker
from apps.spaces import services as spaces
from apps.spaces.logs import last_lines, read_log
from apps.spaces.models import SDK, Space, Stage
from apps.spaces.variables import set_variable
from tests.running_agent import (
    HELLO,
    SERVER,
    RunningAgent,
    deploy,
    end_kept,
    ensure,
    fetch,
    make_space,
    sleeping_space,
    stage_of,
    wait_for_stage,
)
from tests.runtime.keepers import ON_REQUEST
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

SLOW = "import time; time.sleep(1.5)\n" + HELLO
OTHER_ANSWER = SERVER + 'class Other(Handler):\n    def answer(self):\n        return "other"\nserve(Other)\n'


@pytest.fixture
def drowsy_agent(lent_agent: Callable[..., RunningAgent]) -> RunningAgent:
    return lent_agent(PORTICO_SLEEP_SECONDS="1")


def workers_of(space: Space) -> list[Worker]:
    return list(Worker.objects.filter(space=space).exclude(state=Worker.State.ENDED))


def test_a_visit_wakes_a_sleeping_space(agent: RunningAgent) -> None:
    space = sleeping_space()
    worker = ensure(space)
    assert fetch(worker) == "hello"
    assert stage_of(space) == Stage.RUNNING
    row = Worker.objects.get(pk=worker.id)
    assert (row.state, row.port, row.node_id) == (Worker.State.READY, 7860, "local")
    assert [c.stage for c in reversed(space.stage_changes.all())] == [Stage.APP_STARTING, Stage.RUNNING]


def test_many_visitors_at_once_start_one_worker(agent: RunningAgent) -> None:
    space = sleeping_space(SLOW)

    async def all_at_once() -> set[object]:
        asked = (client.ensure_worker(space.pk, timeout=60) for _ in range(50))
        return {worker.id for worker in await asyncio.gather(*asked)}

    assert len(asyncio.run(all_at_once())) == 1
    assert Worker.objects.filter(space=space).count() == 1


def test_a_visitor_who_gives_up_does_not_end_the_start(agent: RunningAgent) -> None:
    space = sleeping_space(SLOW)
    with pytest.raises(TimeoutError):
        ensure(space, timeout=0.2)
    assert fetch(ensure(space)) == "hello"
    assert Worker.objects.filter(space=space).count() == 1


def test_an_unused_space_goes_to_sleep_and_wakes_again(drowsy_agent: RunningAgent) -> None:
    space = sleeping_space()
    first = ensure(space)
    wait_for_stage(space, Stage.SLEEPING)
    wait_until(lambda: not workers_of(space))
    with pytest.raises(client.WorkerGone):
        asyncio.run(client.worker_sockets(first.id, 1))
    second = ensure(space)
    assert second.id != first.id
    assert fetch(second) == "hello"


def test_activity_keeps_a_space_awake(drowsy_agent: RunningAgent) -> None:
    space = sleeping_space()
    worker = ensure(space)
    for _ in range(8):
        asyncio.run(client.report_activity({space.pk: 1}))
        time.sleep(0.4)
    assert stage_of(space) == Stage.RUNNING
    assert ensure(space) == worker


def test_a_job_that_goes_on_with_nobody_connected_is_not_lost_to_sleep(drowsy_agent: RunningAgent) -> None:
    space = sleeping_space(ON_REQUEST + "serve(Does)\n")
    fetch(ensure(space), "/job")
    wait_for_stage(space, Stage.SLEEPING, seconds=30)
    assert "job done" in read_log(space.pk, "run")[1].decode()


def test_a_space_with_sleep_seconds_of_its_own_keeps_to_them(agent: RunningAgent) -> None:
    space = sleeping_space()
    Space.objects.filter(pk=space.pk).update(sleep_seconds=1)
    ensure(space)
    wait_for_stage(space, Stage.SLEEPING)


def test_a_new_deployment_takes_over_without_a_gap(agent: RunningAgent) -> None:
    space = sleeping_space()
    former = ensure(space)
    deploy(space, "import time; time.sleep(1)\n" + OTHER_ANSWER)
    asyncio.run(client.restart_worker(space.pk))
    assert ensure(space) == former, "while the new one starts, the former one serves"
    assert fetch(former) == "hello"
    wait_until(lambda: ensure(space) != former)
    assert fetch(ensure(space)) == "other"
    assert fetch(former) == "hello", "gateways may still lead here for a moment"
    wait_until(lambda: len(workers_of(space)) == 1)
    assert stage_of(space) == Stage.RUNNING


def test_a_variable_and_a_secret_are_in_the_workers_environment_after_a_restart(agent: RunningAgent) -> None:
    text = (
        "class Told(Handler):\n    def answer(self):\n        return f\"{os.environ.get('A')} {os.environ.get('B')}\"\n"
    )
    space = sleeping_space(SERVER + text + "serve(Told)\n")
    set_variable(space, "A", "before", secret=False)
    former = ensure(space)
    set_variable(space, "A", "after", secret=False)
    set_variable(space, "B", "hunter2", secret=True)
    assert fetch(ensure(space)) == "before None"
    asyncio.run(client.restart_worker(space.pk))
    wait_until(lambda: ensure(space) != former)
    assert fetch(ensure(space)) == "after hunter2"


def test_restarts_that_overlap_end_with_one_worker(agent: RunningAgent) -> None:
    space = sleeping_space(SLOW)

    async def twice() -> client.RunningWorker:
        waiting = asyncio.create_task(client.ensure_worker(space.pk, timeout=60))
        await asyncio.sleep(0.5)
        await client.restart_worker(space.pk)
        return await waiting

    worker = asyncio.run(twice())
    assert fetch(worker) == "hello"
    assert [w.pk for w in workers_of(space)] == [worker.id]


def test_stopping_ends_the_worker_and_a_start_under_way(agent: RunningAgent) -> None:
    running, starting = sleeping_space(), sleeping_space(SLOW)
    worker = ensure(running)

    async def stop_both() -> None:
        waiting = asyncio.create_task(client.ensure_worker(starting.pk, timeout=60))
        await asyncio.sleep(0.5)
        await asyncio.gather(client.stop_worker(running.pk), client.stop_worker(starting.pk))
        with pytest.raises(client.StartRefused):
            await waiting

    asyncio.run(stop_both())
    assert not workers_of(running)
    assert not workers_of(starting)
    with pytest.raises(client.WorkerGone):
        asyncio.run(client.worker_sockets(worker.id, 1))


def test_spaces_that_must_not_run_are_refused(agent: RunningAgent) -> None:
    paused, withheld, empty, failed = sleeping_space(), sleeping_space(), make_space(), sleeping_space()
    spaces.pause_space(paused)
    spaces.withhold_space(withheld, "spam")
    Space.objects.filter(pk=failed.pk).update(stage=Stage.BUILD_ERROR, stage_message="no such package")
    for space, stage in (
        (paused, Stage.PAUSED),
        (withheld, Stage.STOPPED),
        (empty, Stage.NO_APP_FILE),
        (failed, Stage.BUILD_ERROR),
    ):
        with pytest.raises(client.StartRefused) as refused:
            ensure(space)
        assert refused.value.stage == stage
        assert stage_of(space) == stage
    assert refused.value.message == "no such package"


def test_a_space_paused_while_it_starts_does_not_come_up(agent: RunningAgent) -> None:
    space = sleeping_space(SLOW)

    async def start_and_pause() -> None:
        waiting = asyncio.create_task(client.ensure_worker(space.pk, timeout=60))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(spaces.pause_space, space)
        with pytest.raises(client.StartRefused):
            await waiting

    asyncio.run(start_and_pause())
    assert stage_of(space) == Stage.PAUSED
    wait_until(lambda: not workers_of(space))


def test_the_task_after_a_deployment_starts_it(agent: RunningAgent) -> None:
    space = make_space()
    deployment = deploy(space)
    deployment_created.send(type(deployment), deployment=deployment)
    assert stage_of(space) == Stage.APP_STARTING, "the stage says so before anybody reads the message"
    tasks.start_worker(space.pk, [])
    wait_for_stage(space, Stage.RUNNING)
    first = workers_of(space)
    tasks.start_worker(space.pk, [])
    assert workers_of(space) == first, "a message that comes late starts nobody's worker afresh"
    assert stage_of(space) == Stage.RUNNING
    tasks.start_worker(space.pk, services.alive(space.pk))
    wait_until(lambda: workers_of(space) and not set(workers_of(space)) & set(first))


def test_a_start_whose_message_was_lost_is_made_up_for(transactional_db: None) -> None:
    space = make_space()
    services.wants_to_run(deploy(space))
    with RunningAgent():
        wait_for_stage(space, Stage.RUNNING)


def test_a_deleted_space_leaves_neither_worker_nor_log(agent: RunningAgent) -> None:
    space = sleeping_space()
    worker, pk = ensure(space), space.pk
    spaces.delete_space(space)
    tasks.clear_deleted_space(pk)
    with pytest.raises(client.WorkerGone):
        asyncio.run(client.worker_sockets(worker.id, 1))
    assert read_log(pk, "run")[1] == b""


def test_what_an_app_prints_is_in_its_log_with_the_marks_of_each_start(agent: RunningAgent) -> None:
    space = sleeping_space()
    ensure(space)
    wait_until(lambda: "listening on 7860" in last_lines(space.pk, "run"))
    asyncio.run(client.stop_worker(space.pk))
    first, *_, last = last_lines(space.pk, "run").splitlines()
    assert first.startswith("===== starting at ")
    assert last == "===== It was told to stop. ====="


def test_an_app_that_chooses_its_own_port_is_found(agent: RunningAgent) -> None:
    space = sleeping_space(SERVER + "serve(port=9123)\n")
    worker = ensure(space)
    assert worker.port == 9123
    assert fetch(worker) == "hello"


def test_the_port_of_the_front_matter_is_the_one_given(agent: RunningAgent) -> None:
    assert ensure(sleeping_space(app_port=8123)).port == 8123


def test_an_app_may_write_into_its_folder_without_changing_the_deployment(agent: RunningAgent) -> None:
    space = make_space()
    text = SERVER + (
        "import pathlib\n"
        "before = pathlib.Path('notes.txt').read_text() + str(pathlib.Path('/tmp/left').exists())\n"
        "pathlib.Path('/tmp/left').touch()\n"
        "pathlib.Path('notes.txt').write_text('changed')\n"
        "pathlib.Path('sub/new.txt').write_text('new')\n"
        "class Files(Handler):\n"
        "    def answer(self):\n"
        "        return before + pathlib.Path('notes.txt').read_text() + pathlib.Path('sub/new.txt').read_text()\n"
        "serve(Files)\n"
    )
    deployment = deploy(space, {"app.py": text, "notes.txt": "original", "sub/old.txt": "old"})
    Space.objects.filter(pk=space.pk).update(stage=Stage.SLEEPING)
    for _ in range(2):  # what it wrote is gone when it wakes again
        assert fetch(ensure(space)) == "originalFalsechangednew"
        asyncio.run(client.stop_worker(space.pk))
    from apps.runtime.selectors import deployment_folder

    folder = deployment_folder(deployment.pk)
    assert (folder / "notes.txt").read_text() == "original"
    assert sorted(p.name for p in folder.iterdir()) == ["app.py", "notes.txt", "sub"]


def test_the_node_says_what_it_can_do(transactional_db: None) -> None:
    with RunningAgent():
        wait_until(lambda: Node.objects.get(name="local").capabilities)
        assert Node.objects.get(name="local").capabilities["sandbox"]["ok"]
        space = sleeping_space()
        worker = ensure(space)
        (entry,) = asyncio.run(client.agent_status())["workers"]
        assert (entry["id"], entry["space"], entry["ready"]) == (str(worker.id), space.pk, True)
        assert entry["memory_bytes"] > 1024**2


def test_without_an_agent_callers_are_told_so(transactional_db: None) -> None:
    end_kept()
    with pytest.raises(client.AgentUnavailable):
        asyncio.run(client.agent_status())


@pytest.mark.parametrize("sdk", [SDK.STATIC])
def test_a_static_space_needs_no_worker(transactional_db: None, sdk: str) -> None:
    space = make_space(sdk=sdk)
    deployment = deploy(space, {"index.html": "<p>hello"}, sdk=sdk, app_file="index.html")
    services.wants_to_run(deployment)
    assert stage_of(space) == Stage.RUNNING


def test_the_longest_unused_goes_to_sleep_early_when_memory_is_short(transactional_db: None) -> None:
    with RunningAgent(PORTICO_FREE_MEMORY_BYTES=str(2**60)):
        first, second = sleeping_space(), sleeping_space()
        for space in (first, second):
            ensure(space)
        deadline = time.monotonic() + 60
        while stage_of(first) == Stage.RUNNING:
            asyncio.run(client.report_activity({second.pk: 1}))
            assert time.monotonic() < deadline
            time.sleep(1)
        assert (stage_of(first), stage_of(second)) == (Stage.SLEEPING, Stage.RUNNING)
        wait_until(lambda: "short of memory" in read_log(first.pk, "run")[1].decode(), seconds=10)
        assert fetch(ensure(first)) == "hello"
