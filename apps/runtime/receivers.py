"""What the runtime does when a Space or its deployments change: remember it now, ask the agent after the commit.

A broker that is away loses nothing: the agent compares stages with what runs (`daemon.Agent._reconcile`)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.dispatch import receiver

from apps.builds.models import Deployment
from apps.builds.signals import deployment_created
from apps.runtime import services, tasks
from apps.runtime.selectors import current_deployment
from apps.spaces.models import SDK, Space
from apps.spaces.signals import lifecycle_requested, space_deleted


@receiver(deployment_created)
def on_deployment_created(sender: Any, deployment: Deployment, **kwargs: Any) -> None:
    _run(deployment)


@receiver(lifecycle_requested)
def on_lifecycle_requested(sender: Any, space: Space, verb: str, **kwargs: Any) -> None:
    if verb == "stop":
        transaction.on_commit(lambda: tasks.stop_worker.delay(space.pk), robust=True)
    elif verb == "empty-storage":
        services.storage_is_to_be_emptied(space.pk)
        transaction.on_commit(lambda: tasks.empty_storage.delay(space.pk), robust=True)
    elif verb in ("start", "restart") and (deployment := current_deployment(space.pk)) is not None:
        _run(deployment)
    else:
        services.settle(space.pk)


def _run(deployment: Deployment) -> None:
    """The stage says so at once, within the transaction: an agent that misses the message reads it there."""
    services.wants_to_run(deployment)
    space_id, before = deployment.space_id, services.alive(deployment.space_id)
    if deployment.sdk == SDK.STATIC:
        transaction.on_commit(lambda: tasks.stop_worker.delay(space_id), robust=True)
    else:
        transaction.on_commit(lambda: tasks.start_worker.delay(space_id, before), robust=True)


@receiver(space_deleted)
def on_space_deleted(sender: Any, space_id: int, repository: UUID, **kwargs: Any) -> None:
    transaction.on_commit(lambda: tasks.clear_deleted_space.delay(space_id), robust=True)
