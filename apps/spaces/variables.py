"""A Space's environment variables. Secrets are encrypted as they come in and never shown again."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from apps.spaces.encryption import encrypt
from apps.spaces.events import route_changed
from apps.spaces.models import Space, SpaceVariable

MAX_VARIABLES = 100
MAX_VALUE_CHARACTERS = 64 * 1024
KEPT_BY_THE_PORTAL = {"PORT", "HOME", "PATH", "GRADIO_SERVER_PORT", "GRADIO_SERVER_NAME", "LD_PRELOAD"}


@transaction.atomic
def set_variable(space: Space, key: str, value: str, *, secret: bool) -> SpaceVariable:
    """Set a variable or a secret; one of the same name is replaced. A restart puts it into the worker.

    Raises:
        ValidationError: the name cannot be one or is the portal's own, the value is too long or has NUL in it, or there
            are too many.
    """
    found = SpaceVariable.objects.select_for_update().filter(space=space, key=key).first()
    if found is None and space.variables.count() >= MAX_VARIABLES:
        raise ValidationError(f"A Space may have {MAX_VARIABLES} variables and secrets.", code="quota")
    if key in KEPT_BY_THE_PORTAL:
        raise ValidationError(f"{key} is set by the portal itself.", code="reserved")
    if len(value) > MAX_VALUE_CHARACTERS or "\0" in value:
        raise ValidationError("The value is too long or has a NUL character in it.", code="malformed")
    variable = found or SpaceVariable(space=space, key=key)
    variable.value = "" if secret else value
    variable.secret = encrypt(value) if secret else None
    variable.updated_at = timezone.now()
    variable.clean_fields()
    variable.save()
    route_changed(space.pk)
    return variable


@transaction.atomic
def delete_variable(space: Space, key: str) -> None:
    """Remove a variable or secret; nothing happens when there is none of that name."""
    SpaceVariable.objects.filter(space=space, key=key).delete()
    route_changed(space.pk)
