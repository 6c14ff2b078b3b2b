"""Links that let people without an account use a closed Space until they expire.

The address carries the link's name, signed: a made-up one costs no query. The row behind it is what ends when the link
is revoked, so the same address can be shown to the owner again and again.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.core import signing
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.spaces import events
from apps.spaces.models import ShareLink, Space

LIFETIMES = {
    "hour": ("1 hour", timedelta(hours=1)),
    "day": ("1 day", timedelta(days=1)),
    "week": ("1 week", timedelta(weeks=1)),
    "month": ("30 days", timedelta(days=30)),
    "year": ("1 year", timedelta(days=365)),
}
MAX_LINKS = 50
_signer = signing.Signer(salt="apps.spaces.links")


@transaction.atomic
def make_link(space: Space, lifetime: str, *, user: User | None) -> ShareLink:
    """Make a link to the Space.

    Raises:
        ValidationError: the lifetime is none of `LIFETIMES`, or the Space has `MAX_LINKS` already.
    """
    if lifetime not in LIFETIMES:
        raise ValidationError("Choose how long the link works.")
    now = timezone.now()
    space.share_links.filter(expires_at__lte=now).delete()
    if space.share_links.count() >= MAX_LINKS:
        raise ValidationError(f"A Space has at most {MAX_LINKS} links at once. Revoke one first.")
    return ShareLink.objects.create(space=space, created_by=user, expires_at=now + LIFETIMES[lifetime][1])


def live_links(space: Space) -> list[ShareLink]:
    """The Space's links that work now, the first to expire first."""
    return list(space.share_links.select_related("created_by").filter(expires_at__gt=timezone.now()))


def find_link(pk: UUID) -> ShareLink | None:
    """The link of this name, with its Space, if it works now."""
    found = ShareLink.objects.select_related("space__owner").filter(pk=pk, expires_at__gt=timezone.now())
    return found.first()


@transaction.atomic
def revoke_link(space: Space, pk: str) -> None:
    """End a link, and with it the visits of those who came by it. One that is gone already is none to complain of."""
    try:
        space.share_links.filter(pk=UUID(pk)).delete()
    except ValueError:
        raise ValidationError("There is no such link.") from None
    events.access_changed(space.pk)


def address_of(link: ShareLink) -> str:
    """The address to give away. Needs `space` loaded."""
    return f"{link.space.url}?__sign={signed(link)}"


def signed(link: ShareLink) -> str:
    """The link's name, signed: what its address carries, and the element's `token`."""
    return _signer.sign(link.pk.hex)


def read_signed(text: str) -> UUID | None:
    """Which link an address' `__sign` names; None when nobody here has signed it."""
    try:
        return UUID(_signer.unsign(text))
    except (signing.BadSignature, ValueError):
        return None
