"""What the database says of workers, whoever acts on a Space at the same time."""

from __future__ import annotations

import uuid

import pytest

from apps.accounts.services import suspend
from apps.builds.models import Deployment
from apps.runtime import services, tasks
from apps.runtime.models import Worker
from apps.spaces.models import Space, Stage
from apps.spaces.services import delete_space, pause_space, withhold_space
from tests.running_agent import sleeping_space

pytestmark = pytest.mark.django_db


@pytest.fixture
def space() -> Space:
    services.note_node()
    return sleeping_space()


def start(space: Space) -> tuple[uuid.UUID, bool]:
    worker = uuid.uuid4()
    deployment = Deployment.objects.get(space=space, is_current=True)
    return worker, services.worker_starting(worker, space.pk, deployment.pk, 7860)


def test_a_worker_starts_then_answers(space: Space) -> None:
    worker, may = start(space)
    space.refresh_from_db()
    assert (may, space.stage) == (True, Stage.APP_STARTING)
    assert services.worker_ready(worker, space.pk, 7861)
    space.refresh_from_db()
    assert (space.stage, Worker.objects.get(pk=worker).port) == (Stage.RUNNING, 7861)


@pytest.mark.parametrize("is_ready", [False, True])
@pytest.mark.parametrize("act", ["pause", "withhold", "ban"])
def test_a_start_that_somebody_forbids_meanwhile_changes_no_stage(space: Space, act: str, is_ready: bool) -> None:
    worker, may = start(space) if is_ready else (uuid.uuid4(), True)
    assert may
    if act == "pause":
        pause_space(space)
    elif act == "withhold":
        withhold_space(space, "spam")
    else:
        suspend(space.owner)
    stage = Space.objects.get(pk=space.pk).stage
    assert not (services.worker_ready(worker, space.pk, 7860) if is_ready else start(space)[1])
    assert Space.objects.get(pk=space.pk).stage == stage


def test_a_deleted_space_starts_no_worker(space: Space) -> None:
    deployment = Deployment.objects.get(space=space)
    space_id = space.pk
    delete_space(space)
    assert not services.worker_starting(uuid.uuid4(), space_id, deployment.pk, 7860)


def test_a_late_message_to_stop_spares_a_space_that_was_woken(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[int] = []

    async def stop(space_id: int) -> None:
        stopped.append(space_id)

    monkeypatch.setattr("apps.runtime.client.stop_worker", stop)
    start(space)
    tasks.stop_worker(space.pk)
    assert stopped == []
    pause_space(space)
    tasks.stop_worker(space.pk)
    assert stopped == [space.pk]
    space_id = space.pk
    delete_space(space)
    tasks.stop_worker(space_id)
    assert stopped == [space_id, space_id]


def test_a_late_message_to_start_spares_what_was_started_since(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    restarted: list[int] = []

    async def restart(space_id: int) -> None:
        restarted.append(space_id)

    monkeypatch.setattr("apps.runtime.client.restart_worker", restart)
    start(space)
    before = services.alive(space.pk)
    tasks.start_worker(space.pk, before)
    assert restarted == [space.pk], "what ran before it was asked for is started afresh"
    start(space)
    tasks.start_worker(space.pk, before)
    assert restarted == [space.pk]
