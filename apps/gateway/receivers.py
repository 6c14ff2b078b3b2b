"""What the gateway does when the floors below change something."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from apps.gateway import takes
from apps.runtime.signals import worker_became_ready
from apps.spaces.events import ROUTES_GROUP, push_on_commit
from apps.spaces.models import Space


@receiver(worker_became_ready)
def on_worker_ready(sender: Any, space: Space, **kwargs: Any) -> None:
    """Tell the gateways whose page is due. A message that is lost loses a snapshot, which the next start takes."""
    if takes.is_due(space):
        push_on_commit(ROUTES_GROUP, {"type": "snapshot.due", "space": space.pk})
