"""Verbs that change a Space: each is one transaction, and tells the floors above by signal."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.accounts.models import Namespace, User
from apps.spaces import events, signals
from apps.spaces.hostnames import read_sites
from apps.spaces.models import SDK, Space, Stage
from apps.spaces.runs import run_facts
from apps.spaces.stages import set_stage
from apps.spaces.subdomains import subdomain_for


def _free_subdomain(owner: str, name: str, besides: int | None = None) -> str:
    plain = subdomain_for(owner, name)
    others = Space.objects.filter(subdomain=plain)
    taken = (others.exclude(pk=besides) if besides else others).exists()
    return subdomain_for(owner, name, hashed=True) if taken else plain


@transaction.atomic
def create_space(
    owner: Namespace,
    name: str,
    *,
    user: User | None,
    sdk: str = SDK.GRADIO,
    visibility: str = Space.Visibility.PUBLIC,
) -> Space:
    """Create an empty Space, in stage NO_APP_FILE until something is committed.

    Raises:
        ValidationError: the name is malformed, reserved or taken, or the owner has as many as it may.
    """
    if owner.is_suspended:
        raise ValidationError("This account is suspended.", code="suspended")
    if owner.spaces.count() >= settings.PORTICO_MAX_SPACES_PER_OWNER:
        raise ValidationError(
            f"{owner.name} already has {settings.PORTICO_MAX_SPACES_PER_OWNER} Spaces, the most this portal allows.",
            code="quota",
        )
    space = Space(
        owner=owner,
        name=name,
        sdk=sdk,
        visibility=visibility,
        subdomain=_free_subdomain(owner.name, name),
        created_by=user,
    )
    space.clean_fields()
    try:
        with transaction.atomic():
            space.save()
    except IntegrityError as error:
        raise ValidationError({"name": f"{owner.name}/{name} is taken."}, code="taken") from error
    events.route_changed(space.pk)
    return space


@transaction.atomic
def rename_space(space: Space, name: str) -> Space:
    """Give a Space another name, and with it another subdomain.

    Raises:
        ValidationError: the name is malformed or taken.
    """
    space.name = name
    space.subdomain = _free_subdomain(space.owner.name, name, besides=space.pk)
    space.updated_at = timezone.now()
    space.clean_fields(exclude=["owner"])
    try:
        with transaction.atomic():
            space.save(update_fields=["name", "subdomain", "updated_at"])
    except IntegrityError as error:
        raise ValidationError({"name": f"{space.slug} is taken."}, code="taken") from error
    events.access_changed(space.pk)
    return space


@transaction.atomic
def set_visibility(space: Space, visibility: str) -> None:
    space.visibility = Space.Visibility(visibility)
    space.updated_at = timezone.now()
    space.save(update_fields=["visibility", "updated_at"])
    events.access_changed(space.pk)


PASSWORD_CHARACTERS = (8, 128)


@transaction.atomic
def set_password(space: Space, password: str) -> None:
    """Ask visitors of the Space for a password from now on; an empty one: for none. Who came in with an earlier one
    is out.

    Raises:
        ValidationError: it is too short or too long.
    """
    shortest, longest = PASSWORD_CHARACTERS
    if password and not shortest <= len(password) <= longest:
        raise ValidationError(f"A password has {shortest} to {longest} characters.", code="password")
    space.password = make_password(password) if password else ""
    space.save(update_fields=["password"])
    events.access_changed(space.pk)


@transaction.atomic
def set_embedding(space: Space, *, disabled: bool, sites: str = "") -> None:
    """Say which other sites may show the Space in their pages.

    Args:
        disabled: none.
        sites: these alone, as `hostnames.read_sites` takes them; empty for all of them.

    Raises:
        ValidationError: it is no list of sites.
    """
    space.disable_embedding, space.embedding_sites = disabled, read_sites(sites)
    space.save(update_fields=["disable_embedding", "embedding_sites"])
    events.route_changed(space.pk)


@transaction.atomic
def set_tells_username(space: Space, told: bool) -> None:
    """Say whether the Space's app is told the user name of a visitor who is signed in."""
    space.tells_username = told
    space.save(update_fields=["tells_username"])
    events.route_changed(space.pk)


@transaction.atomic
def set_snapshot_allowed(space: Space, *, allowed: bool) -> None:
    """Say whether the Space's page may be drawn before its worker is awake."""
    space.is_snapshot_allowed = allowed
    space.save(update_fields=["is_snapshot_allowed"])
    events.route_changed(space.pk)


@transaction.atomic
def pause_space(space: Space, message: str = "") -> None:
    """Stop the Space until its owner restarts it."""
    space.paused_at = timezone.now()
    space.save(update_fields=["paused_at"])
    set_stage(space.pk, Stage.PAUSED, message)
    signals.lifecycle_requested.send(Space, space=space, verb="stop")


@transaction.atomic
def restart_space(space: Space, *, factory: bool = False) -> None:
    """Start the Space afresh, from PAUSED and after errors too.

    Args:
        factory: build again first, with requirements resolved anew.
    """
    space.paused_at = None
    space.save(update_fields=["paused_at"])
    if factory or space.stage in (Stage.BUILD_ERROR, Stage.CONFIG_ERROR, Stage.NO_APP_FILE, Stage.BUILDING):
        signals.build_requested.send(Space, space=space, factory=factory)
    else:
        signals.lifecycle_requested.send(Space, space=space, verb="restart")


@transaction.atomic
def sleep_space(space: Space) -> None:
    """Free the Space's worker; the next request wakes it."""
    if set_stage(space.pk, Stage.SLEEPING, only_from=(Stage.RUNNING, Stage.APP_STARTING)):
        signals.lifecycle_requested.send(Space, space=space, verb="stop")


@transaction.atomic
def empty_storage(space: Space) -> None:
    """Delete for good what the Space keeps at `/data`. What runs of it ends first, and is started again afterwards.

    Raises:
        ValidationError: it keeps nothing.
    """
    if run_facts(space).storage_used_bytes is None:
        raise ValidationError("It keeps nothing at /data.", code="empty")
    signals.lifecycle_requested.send(Space, space=space, verb="empty-storage")


@transaction.atomic
def delete_space(space: Space) -> None:
    """Delete a Space for good: its row now, its worker and files right after."""
    space_id, repository = space.pk, space.repository
    events.route_changed(space_id)
    events.push_on_commit(events.space_group(space_id), {"type": "space.deleted"})
    space.delete()
    signals.space_deleted.send(Space, space_id=space_id, repository=repository)


@transaction.atomic
def withhold_space(space: Space, reason: str) -> None:
    """Take the Space down (moderators): a tombstone everywhere, its worker ended, nothing deleted."""
    space.taken_down_at, space.takedown_reason = timezone.now(), reason
    space.save(update_fields=["taken_down_at", "takedown_reason"])
    set_stage(space.pk, Stage.STOPPED)
    events.access_changed(space.pk)
    signals.lifecycle_requested.send(Space, space=space, verb="stop")


@transaction.atomic
def restore_space(space: Space) -> None:
    """Undo `withhold_space`; the Space sleeps until somebody visits."""
    space.taken_down_at, space.takedown_reason = None, ""
    space.save(update_fields=["taken_down_at", "takedown_reason"])
    set_stage(space.pk, Stage.SLEEPING, only_from=(Stage.STOPPED,))
    signals.lifecycle_requested.send(Space, space=space, verb="settle")
    events.access_changed(space.pk)
