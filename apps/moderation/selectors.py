"""Questions about reports and what may be done about them."""

from __future__ import annotations

from django.db.models import QuerySet

from apps.accounts.models import Namespace, User
from apps.moderation.models import AuditEntry, Report

Verb = AuditEntry.Verb


def reports(*, handled: bool = False) -> QuerySet[Report]:
    """Open reports, oldest first; or those already dealt with, latest first."""
    found = Report.objects.select_related("space__owner", "reporter", "handled_by")
    if handled:
        return found.exclude(state=Report.State.OPEN).order_by("-handled_at")
    return found.filter(state=Report.State.OPEN)


def namespace_of(report: Report) -> Namespace | None:
    """Whose Space was reported, also after it is gone."""
    owner = report.space_slug.partition("/")[0]
    return report.space.owner if report.space else Namespace.objects.filter(name__iexact=owner).first()


def possible_acts(report: Report, moderator: User) -> list[tuple[str, str]]:
    """Verbs that make sense for a report now, with what their buttons say."""
    acts = []
    space, namespace = report.space, namespace_of(report)
    if report.state == Report.State.OPEN:
        acts.append((Verb.DISMISS.value, "Dismiss"))
    if space is not None:
        if space.taken_down_at is not None:
            acts.append((Verb.RESTORE.value, "Restore"))
        else:
            if space.paused_at is None and not space.is_withheld:
                acts.append((Verb.PAUSE.value, "Pause"))
            acts.append((Verb.TAKE_DOWN.value, "Take down"))
    if namespace is not None:
        user = User.objects.filter(namespace=namespace).first()
        if namespace.is_suspended:
            acts.append((Verb.UNBAN.value, f"Unban {namespace.name}"))
        elif user is None or (
            user.pk != moderator.pk and (moderator.is_superuser or not (user.is_moderator or user.is_superuser))
        ):
            acts.append((Verb.BAN.value, f"Ban {namespace.name}"))
    return acts


def audit_log(target: str = "") -> QuerySet[AuditEntry]:
    """Latest first; `target` narrows it to what was done to a Space, or to a person and their Spaces."""
    entries = AuditEntry.objects.all()
    return entries.filter(target__icontains=target) if target else entries
