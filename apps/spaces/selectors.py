"""Questions about Spaces that pages, APIs and the gateway share."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q, QuerySet

from apps.accounts.models import User
from apps.spaces.models import Invitation, Space


def readable_by(user: User | AnonymousUser) -> QuerySet[Space]:
    """Spaces whose pages, files and demo `user` may see, owners loaded. A withheld Space is still among
    them: pages show its tombstone (`Space.is_withheld`)."""
    spaces = Space.objects.select_related("owner")
    if not user.is_authenticated:
        return spaces.filter(visibility=Space.Visibility.PUBLIC)
    if user.can_moderate:
        return spaces
    return spaces.filter(Q(visibility=Space.Visibility.PUBLIC) | Q(owner=user.namespace_id) | _invited(user))


def _invited(user: User) -> Q:
    return Q(pk__in=Invitation.objects.filter(user=user).values("space"))


def shared_with(user: User) -> QuerySet[Space]:
    """Spaces of others that `user` is invited to and that are not withheld, newest change first."""
    spaces = Space.objects.select_related("owner").filter(_invited(user))
    return spaces.filter(taken_down_at=None, owner__suspended_at=None).order_by("-updated_at")


def usable_by(user: User | AnonymousUser) -> QuerySet[Space]:
    """Those of `readable_by` whose demo and files `user` gets without a password."""
    spaces = readable_by(user)
    if not user.is_authenticated:
        return spaces.filter(password="")
    if user.can_moderate:
        return spaces
    by_password = Q(password="") | Q(visibility=Space.Visibility.PRIVATE)
    return spaces.filter(by_password | Q(owner=user.namespace_id) | _invited(user))


def can_use(user: User | AnonymousUser, space: Space) -> bool:
    """Whether `user`, who may read the Space's page, gets its demo and files without a password."""
    return not space.asks_password or usable_by(user).filter(pk=space.pk).exists()


def get_space(slug: str, user: User | AnonymousUser) -> Space:
    """Return the Space called `owner/name` (in any case).

    Raises:
        Space.DoesNotExist: there is none, or `user` may not know that there is.
    """
    owner, _, name = slug.partition("/")
    return readable_by(user).get(owner__name__iexact=owner, name__iexact=name)


def owns(user: User | AnonymousUser, space: Space) -> bool:
    """Whether the Space is `user`'s own, whose logs, errors and reasons of moderators are theirs to read."""
    return user.is_authenticated and user.is_active and space.owner_id == user.namespace_id


def can_write(user: User | AnonymousUser, space: Space) -> bool:
    """Whether `user` may change the Space: its owner may, unless moderators withhold it."""
    return owns(user, space) and not space.is_withheld


def listed() -> QuerySet[Space]:
    """Public Spaces fit for the front page: not withheld, newest change first."""
    return (
        Space.objects.select_related("owner")
        .filter(visibility=Space.Visibility.PUBLIC, taken_down_at=None, owner__suspended_at=None)
        .order_by("-updated_at")
    )
