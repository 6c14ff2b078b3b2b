"""What moderators do: one transaction each for the act, the notice to the owner and the audit entry.

The owner's e-mail goes out after the commit; one that cannot be sent undoes nothing, the notice stays on their pages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils import timezone

from apps.accounts import services as accounts
from apps.accounts.models import Namespace, User
from apps.moderation.models import AuditEntry, Report
from apps.moderation.selectors import namespace_of
from apps.spaces import events
from apps.spaces import services as spaces
from apps.spaces.models import Notice, Space, Stage
from apps.spaces.signals import lifecycle_requested
from apps.spaces.stages import set_stage

GROUP = "moderation"
Verb = AuditEntry.Verb


class ActRefused(Exception):
    """The act makes no sense or is not allowed; `str()` says why, in words for the moderator."""


def _announce(report: Report) -> None:
    events.push_on_commit(GROUP, {"type": "report.changed", "report": report.pk})


@transaction.atomic
def report_space(space: Space, *, reporter: User | None, category: str, text: str) -> Report:
    """File a report; every open dashboard shows it at once."""
    report = Report.objects.create(
        space=space, space_slug=space.slug, reporter=reporter, category=Report.Category(category), text=text
    )
    _announce(report)
    return report


@transaction.atomic
def act(report: Report, verb: str, *, moderator: User, reason: str) -> AuditEntry:
    """Do one thing about a report, in one transaction with everything that follows from it.

    Args:
        report: what it is about.
        verb: one of `AuditEntry.Verb`.
        moderator: who does it.
        reason: for the owner and the log; required.

    Raises:
        ActRefused: the moderator may not, the reason is empty, or there is nothing to do.
    """
    if not moderator.can_moderate:
        raise ActRefused("Only moderators can do that.")
    reason = reason.strip()
    if not reason:
        raise ActRefused("Give a reason.")
    verb = Verb(verb)
    report = Report.objects.select_for_update().get(pk=report.pk)
    target = _ACTS[verb](report, moderator, reason)
    if verb in _CLOSES and report.state == Report.State.OPEN:
        report.state = _CLOSES[verb]
        report.handled_by, report.handled_at = moderator, timezone.now()
        report.save(update_fields=["state", "handled_by", "handled_at"])
    entry = AuditEntry.objects.create(
        actor=moderator.username, verb=verb, target=target, reason=reason, data={"report": report.pk}
    )
    _announce(report)
    return entry


_CLOSES = {
    Verb.PAUSE: Report.State.ACTIONED,
    Verb.TAKE_DOWN: Report.State.ACTIONED,
    Verb.BAN: Report.State.ACTIONED,
    Verb.DISMISS: Report.State.DISMISSED,
}


def _space(report: Report) -> Space:
    space = Space.objects.select_related("owner").filter(reports=report.pk).first()
    if space is None:
        raise ActRefused("This Space is gone.")
    return space


def _owner(report: Report, moderator: User) -> Namespace:
    namespace = namespace_of(report)
    if namespace is None:
        raise ActRefused("This account is gone.")
    user = User.objects.filter(namespace=namespace).first()
    if user is not None and user.pk == moderator.pk:
        raise ActRefused("You cannot ban yourself.")
    if user is not None and (user.is_moderator or user.is_superuser) and not moderator.is_superuser:
        raise ActRefused("Only an administrator can ban a moderator or an administrator.")
    return namespace


def _tell(namespace: Namespace, space: Space | None, subject: str, text: str) -> None:
    Notice.objects.create(namespace=namespace, space=space, text=text)
    user = User.objects.filter(namespace=namespace).first()
    if user is not None and user.email:
        to = user.email
        transaction.on_commit(
            lambda: send_mail(subject, f"{text}\n\n{settings.PORTICO_URL}\n", None, [to]), robust=True
        )


def _pause(report: Report, moderator: User, reason: str) -> str:
    space = _space(report)
    if space.is_withheld or space.paused_at is not None:
        raise ActRefused("This Space is paused or withheld already.")
    spaces.pause_space(space, f"Paused by moderators: {reason}")
    _tell(
        space.owner, space, f"{space.slug} was paused",
        f"Moderators paused {space.slug}. You can start it again. Reason: {reason}",
    )  # fmt: skip
    return space.slug


def _take_down(report: Report, moderator: User, reason: str) -> str:
    space = _space(report)
    if space.taken_down_at is not None:
        raise ActRefused("This Space is taken down already.")
    spaces.withhold_space(space, reason)
    _tell(
        space.owner, space, f"{space.slug} was taken down",
        f"Moderators took {space.slug} down. Nothing of it is deleted. Reason: {reason}",
    )  # fmt: skip
    return space.slug


def _restore(report: Report, moderator: User, reason: str) -> str:
    space = _space(report)
    if space.taken_down_at is None:
        raise ActRefused("This Space is not taken down.")
    spaces.restore_space(space)
    _tell(
        space.owner, space, f"{space.slug} was restored",
        f"Moderators restored {space.slug}. Reason: {reason}",
    )  # fmt: skip
    return space.slug


def _ban(report: Report, moderator: User, reason: str) -> str:
    namespace = _owner(report, moderator)
    if namespace.is_suspended:
        raise ActRefused(f"{namespace.name} is banned already.")
    accounts.suspend(namespace)
    for space in namespace.spaces.all():
        set_stage(space.pk, Stage.STOPPED)
        events.access_changed(space.pk)
        lifecycle_requested.send(Space, space=space, verb="stop")
    _tell(
        namespace, None, "Your account was suspended",
        f"Moderators suspended the account {namespace.name} and withdrew its Spaces. Reason: {reason}",
    )  # fmt: skip
    return namespace.name


def _unban(report: Report, moderator: User, reason: str) -> str:
    namespace = _owner(report, moderator)
    if not namespace.is_suspended:
        raise ActRefused(f"{namespace.name} is not banned.")
    accounts.reinstate(namespace)
    for space in namespace.spaces.all():
        if space.taken_down_at is None:
            set_stage(space.pk, Stage.SLEEPING, only_from=(Stage.STOPPED,))
            lifecycle_requested.send(Space, space=space, verb="settle")
        events.access_changed(space.pk)
    _tell(
        namespace, None, "Your account is open again",
        f"Moderators lifted the suspension of {namespace.name}. Reason: {reason}",
    )  # fmt: skip
    return namespace.name


def _dismiss(report: Report, moderator: User, reason: str) -> str:
    """The owner is not told: they never heard of the report."""
    if report.state != Report.State.OPEN:
        raise ActRefused("This report is closed already.")
    return report.space_slug


_ACTS: dict[Any, Callable[[Report, User, str], str]] = {
    Verb.PAUSE: _pause,
    Verb.TAKE_DOWN: _take_down,
    Verb.RESTORE: _restore,
    Verb.BAN: _ban,
    Verb.UNBAN: _unban,
    Verb.DISMISS: _dismiss,
}
