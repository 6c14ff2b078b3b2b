"""What builds do when the floor below changes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from apps.builds import bundles, tasks
from apps.builds import signals as of_builds
from apps.builds.models import Deployment
from apps.builds.services import queue_build
from apps.spaces import signals
from apps.spaces.models import Space


@receiver(signals.revision_created)
def build_new_revision(space: Space, **kwargs: Any) -> None:
    _queue(space)


@receiver(signals.build_requested)
def build_again(space: Space, factory: bool, **kwargs: Any) -> None:
    _queue(space, factory=factory)


def _queue(space: Space, *, factory: bool = False) -> None:
    build = queue_build(space, factory=factory)
    if build is not None:
        # A broker that is away must not lose the commit: the row waits, and `requeue_lost_builds` finds it.
        # (A lambda: Django cannot name a `partial` that fails, and fails itself.)
        transaction.on_commit(lambda: tasks.run_build.delay(build.pk), robust=True)


@receiver(of_builds.deployment_created)
def fetch_bundle(deployment: Deployment, **kwargs: Any) -> None:
    """That other sites can show it as soon as they ask."""
    version = deployment.environment.gradio_version if deployment.environment else ""
    if version and not bundles.is_there(version):
        transaction.on_commit(lambda: tasks.fetch_bundle.delay(version), robust=True)


@receiver(pre_delete, sender=Space)
def remember_files(instance: Space, **kwargs: Any) -> None:
    """After the row is gone nobody knows the deployments any more."""
    deployments = list(Deployment.objects.filter(space=instance).values_list("pk", flat=True))
    repository: UUID = instance.repository
    pk = instance.pk
    transaction.on_commit(lambda: tasks.delete_files.delay(pk, str(repository), deployments), robust=True)
