"""What the gateway does when the floors below change something."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.dispatch import receiver

from apps.gateway import takes, tasks
from apps.runtime.signals import worker_became_ready
from apps.spaces.models import Space


@receiver(worker_became_ready)
def on_worker_ready(sender: Any, space: Space, **kwargs: Any) -> None:
    """A broker that is away loses a snapshot, which the next start takes."""
    if takes.is_due(space):
        transaction.on_commit(lambda: tasks.take_snapshot.delay(space.pk), robust=True)
