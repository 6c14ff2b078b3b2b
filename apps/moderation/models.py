"""Reports, and the append-only record of what moderators did."""

from __future__ import annotations

from typing import Any, NoReturn

from django.conf import settings
from django.db import models
from django.utils import timezone

from apps.spaces.models import Space


class Report(models.Model):
    """Somebody's complaint about a Space. The Space's name is kept so that the row outlives it."""

    class Category(models.TextChoices):
        PHISHING = "phishing", "Phishing or fraud"
        MALWARE = "malware", "Malware"
        ILLEGAL = "illegal", "Illegal content"
        HARASSMENT = "harassment", "Harassment or hate"
        COPYRIGHT = "copyright", "Copyright"
        SPAM = "spam", "Spam"
        OTHER = "other", "Something else"

    class State(models.TextChoices):
        OPEN = "open", "Open"
        ACTIONED = "actioned", "Action taken"
        DISMISSED = "dismissed", "Dismissed"

    space = models.ForeignKey(Space, null=True, on_delete=models.SET_NULL, related_name="reports")
    space_slug = models.CharField(max_length=140)
    reporter = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="reports"
    )
    category = models.CharField(max_length=12, choices=Category)
    text = models.TextField(max_length=4000, blank=True)
    state = models.CharField(max_length=9, choices=State, default=State.OPEN)
    handled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    handled_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["created_at"]
        indexes = [models.Index(fields=["state", "created_at"], name="report_state_idx")]


class AppendOnly(models.QuerySet["AuditEntry"]):
    """Rows are added and read. The database refuses the rest as well (migration 0002)."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError("audit entries cannot be changed")

    def delete(self) -> NoReturn:
        raise TypeError("audit entries cannot be deleted")


class AuditEntry(models.Model):
    """One act of a moderator or administrator. Never changed, never deleted.

    Names are copied in, so a row says what happened even when its subjects are gone.
    """

    class Verb(models.TextChoices):
        PAUSE = "pause"
        TAKE_DOWN = "take_down"
        RESTORE = "restore"
        BAN = "ban"
        UNBAN = "unban"
        DISMISS = "dismiss"

    at = models.DateTimeField(default=timezone.now, editable=False)
    actor = models.CharField(max_length=150)
    verb = models.CharField(max_length=20, choices=Verb)
    target = models.CharField(max_length=150, db_index=True, help_text="owner/name, or a namespace's name.")
    reason = models.TextField()
    data = models.JSONField(default=dict)

    objects = AppendOnly.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit log"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding or self.pk is not None:
            raise TypeError("audit entries cannot be changed")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("audit entries cannot be deleted")
