"""Who else may see a closed Space: people of this portal, named by its owner one by one."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction

from apps.accounts.models import User
from apps.spaces import events
from apps.spaces.models import Invitation, Space

MAX_INVITATIONS = 100


@transaction.atomic
def invite(space: Space, username: str) -> User:
    """Let the person called `username` (in any case) see the Space. Once more is no mistake.

    Raises:
        ValidationError: there is no such person, they own it, or it has `MAX_INVITATIONS` already.
    """
    user = (
        User.objects.select_related("namespace").filter(username__iexact=username.strip()[:150], is_active=True).first()
    )
    if user is None or user.namespace.is_suspended:
        raise ValidationError(f"Nobody here is called “{username.strip()[:150]}”.")
    if user.namespace_id == space.owner_id:
        raise ValidationError(f"{user.username} owns the Space.")
    others = space.invitations.exclude(user=user).count()
    if others >= MAX_INVITATIONS:
        raise ValidationError(f"At most {MAX_INVITATIONS} people can be invited to a Space. Share a link instead.")
    Invitation.objects.get_or_create(space=space, user=user)
    events.access_changed(space.pk)
    return user


@transaction.atomic
def uninvite(space: Space, username: str) -> None:
    """Take an invitation back; what the person has open ends. One who is not invited is none to complain of."""
    space.invitations.filter(user__username=username).delete()
    events.access_changed(space.pk)
