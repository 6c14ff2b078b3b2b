"""The one way a Space's stage changes."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from apps.spaces import events
from apps.spaces.models import Space, Stage, StageChange


@transaction.atomic
def set_stage(space_id: int, stage: Stage, message: str = "", *, only_from: tuple[Stage, ...] | None = None) -> bool:
    """Move a Space to `stage`: one transaction, one StageChange row, one push to pages and gateways.

    Args:
        space_id: primary key of the Space.
        stage: where to.
        message: for the owner, in plain words; empty clears the former one.
        only_from: do nothing unless the Space is in one of these stages.

    Returns:
        Whether the stage or its message changed. A Space that is gone never changes.
    """
    space = Space.objects.select_for_update().filter(pk=space_id).first()
    if space is None or (only_from is not None and space.stage not in only_from):
        return False
    if (space.stage, space.stage_message) == (stage, message):
        return False
    space.stage, space.stage_message, space.stage_changed_at = stage, message, timezone.now()
    space.save(update_fields=["stage", "stage_message", "stage_changed_at"])
    StageChange.objects.create(space=space, stage=stage, message=message, at=space.stage_changed_at)
    events.push_on_commit(
        events.space_group(space.pk),
        {"type": "stage.changed", "stage": stage.value, "message": message, "at": space.stage_changed_at.isoformat()},
    )
    events.route_changed(space.pk)
    return True
