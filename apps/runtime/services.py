"""Verbs that change what the database knows about workers: each is one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from apps.builds.models import Build, Deployment
from apps.runtime.models import Node, Storage, Worker
from apps.runtime.selectors import true_stage
from apps.runtime.signals import worker_became_ready
from apps.spaces import events, signals
from apps.spaces.models import SDK, Space, Stage
from apps.spaces.stages import set_stage


def note_node(capabilities: dict[str, Any] | None = None) -> None:
    """The node's sign of life; with what it can do once that is known."""
    known = {} if capabilities is None else {"capabilities": capabilities}
    Node.objects.update_or_create(name=settings.PORTICO_NODE, defaults={"seen_at": timezone.now(), **known})


def _to_run(space_id: int) -> Space | None:
    """The Space, locked; None when it was paused, withheld or deleted since somebody wanted it to run."""
    space = Space.objects.select_for_update(of=("self",)).select_related("owner").filter(pk=space_id).first()
    if space is None or space.is_withheld or space.paused_at is not None:
        return None
    return space


@transaction.atomic
def worker_starting(
    worker_id: UUID,
    space_id: int,
    deployment_id: int,
    port: int,
    given: Mapping[str, object] | None = None,
    *,
    is_first: bool = True,
) -> bool:
    """A worker is about to be started, with the plan and limits `given`. False when its Space must not run any more, or
    its deployment is gone. If it keeps something, that is noted before it is there, so that it is never forgotten. The
    stage is the first one's affair: beside it others are started while the Space is RUNNING."""
    space = _to_run(space_id)
    if space is None or not Deployment.objects.filter(pk=deployment_id, space=space).exists():
        return False
    Worker.objects.create(
        pk=worker_id, space=space, deployment_id=deployment_id, node_id=settings.PORTICO_NODE, port=port,
        given=given or {},
    )  # fmt: skip
    if given and given.get("storage_bytes"):
        Storage.objects.get_or_create(pk=space.repository, defaults={"space": space, "node": settings.PORTICO_NODE})
    if is_first:
        set_stage(space_id, Stage.APP_STARTING)
    return True


def worker_started(worker_id: UUID, spawner_state: dict[str, Any]) -> None:
    Worker.objects.filter(pk=worker_id).update(spawner_state=spawner_state)


@transaction.atomic
def worker_ready(worker_id: UUID, space_id: int, port: int) -> bool:
    """It answers. False when its Space must not run any more."""
    space = _to_run(space_id)
    if space is None:
        return False
    Worker.objects.filter(pk=worker_id).update(state=Worker.State.READY, port=port, ready_at=timezone.now())
    set_stage(space_id, Stage.RUNNING, only_from=(Stage.APP_STARTING,))
    worker_became_ready.send(Worker, space=space)
    events.route_changed(space_id)
    return True


def worker_stopping(worker_id: UUID) -> None:
    Worker.objects.filter(pk=worker_id).update(state=Worker.State.STOPPING)


@transaction.atomic
def worker_ended(worker_id: UUID, space_id: int, reason: str) -> None:
    """It is gone; pages and gateways are told to look again."""
    Worker.objects.filter(pk=worker_id).exclude(state=Worker.State.ENDED).update(
        state=Worker.State.ENDED, ended_at=timezone.now(), end_reason=reason
    )
    events.route_changed(space_id)


@transaction.atomic
def note_storage(used_bytes: Mapping[UUID, int]) -> None:
    """How much Spaces keep, by the name of their storage."""
    for name, used in used_bytes.items():
        Storage.objects.filter(pk=name).update(used_bytes=used, measured_at=timezone.now())


def storages_to_delete() -> list[UUID]:
    """What Spaces that are gone have kept on this node."""
    return list(Storage.objects.filter(space=None, node=settings.PORTICO_NODE).values_list("pk", flat=True))


def storage_deleted(name: UUID) -> None:
    Storage.objects.filter(pk=name, space=None).delete()


def storage_is_to_be_emptied(space_id: int) -> None:
    """The Space's owner asked for that; kept here until it is done, so that no lost message and no dead agent undoes
    it."""
    Storage.objects.filter(space=space_id).update(is_to_be_emptied=True)


def storages_to_empty() -> dict[int, UUID]:
    """What is to be emptied on this node: the storage's name by its Space."""
    wanted = Storage.objects.filter(is_to_be_emptied=True, node=settings.PORTICO_NODE).exclude(space=None)
    return {int(space_id): name for space_id, name in wanted.values_list("space", "pk")}


def storage_emptied(name: UUID) -> None:
    """Its image is gone. The Space's next worker, if it may keep something, begins with a new one, on any node."""
    Storage.objects.filter(pk=name, is_to_be_emptied=True).delete()


def alive(space_id: int) -> list[str]:
    """The Space's workers that have not ended, by id."""
    there = Worker.objects.filter(space=space_id).exclude(state=Worker.State.ENDED)
    return [str(pk) for pk in there.values_list("pk", flat=True)]


def has_started(space_id: int, before: Collection[str]) -> bool:
    """Whether a worker of the current deployment starts or runs that was not among those alive `before`."""
    ours = Worker.objects.filter(space=space_id, deployment__is_current=True)
    return ours.filter(state__in=(Worker.State.STARTING, Worker.State.READY)).exclude(pk__in=before).exists()


def was_woken(space_id: int) -> bool:
    """Whether the Space runs or starts, and rightly so."""
    space = Space.objects.select_related("owner").filter(pk=space_id).first()
    if space is None or space.stage not in (Stage.APP_STARTING, Stage.RUNNING):
        return False
    static = Deployment.objects.filter(space=space, is_current=True, sdk=SDK.STATIC).exists()
    return not (static or space.is_withheld or space.paused_at is not None)


@transaction.atomic
def wants_to_run(deployment: Deployment) -> None:
    """The Space has something new to run: say so in its stage, unless it is paused or withheld."""
    space = Space.objects.select_related("owner").get(pk=deployment.space_id)
    if space.is_withheld or space.paused_at is not None:
        set_stage(space.pk, *true_stage(space))
    elif deployment.sdk == SDK.STATIC:
        set_stage(space.pk, Stage.RUNNING)
        events.route_changed(space.pk)
    else:
        set_stage(space.pk, Stage.APP_STARTING)


@transaction.atomic
def settle(space_id: int) -> None:
    """Give a Space of which nothing runs the stage that is true of it; one that was never built is built now."""
    space = Space.objects.select_related("owner").filter(pk=space_id).first()
    if space is None:
        return
    stage, message = true_stage(space)
    set_stage(space_id, stage, message)
    if stage == Stage.NO_APP_FILE and space.head:
        signals.build_requested.send(Space, space=space, factory=False)


@transaction.atomic
def close_workers_of_former_agent() -> list[Worker]:
    """End the rows of workers that a killed agent left, and make their Spaces' stages true: RUNNING becomes SLEEPING.
    Returns those workers as they were."""
    left = list(Worker.objects.filter(node=settings.PORTICO_NODE).exclude(state=Worker.State.ENDED))
    for worker in left:
        worker_ended(worker.pk, worker.space_id, "The agent was restarted.")
    with_worker = Worker.objects.exclude(state=Worker.State.ENDED).values("space")
    asleep = Space.objects.filter(stage=Stage.RUNNING).exclude(pk__in=with_worker)
    static = Q(deployments__is_current=True, deployments__sdk=SDK.STATIC)
    for space_id in asleep.exclude(static).values_list("pk", flat=True):
        set_stage(space_id, Stage.SLEEPING, only_from=(Stage.RUNNING,))
    return left


def spaces_to_start() -> list[int]:
    """Spaces that say they are starting, or were built, and that no worker is being started for: a message was lost."""
    with_worker = Worker.objects.exclude(state=Worker.State.ENDED).values("space")
    pending = Build.objects.filter(state__in=(Build.State.QUEUED, Build.State.RUNNING)).values("space")
    starting = Space.objects.filter(stage=Stage.APP_STARTING).exclude(pk__in=with_worker)
    built = (
        Space.objects.filter(stage=Stage.BUILDING, deployments__is_current=True)
        .exclude(pk__in=pending)
        .exclude(pk__in=with_worker)
    )
    return sorted({*starting.values_list("pk", flat=True), *built.values_list("pk", flat=True)})
