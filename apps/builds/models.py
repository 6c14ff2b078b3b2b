"""From a revision to something that can run."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from apps.spaces.models import SDK, Space


class Environment(models.Model):
    """An immutable installed set of packages, shared by every Space whose lock has the same hash.

    It lies under `PORTICO_DATA/environments/<key>/` and is only ever renamed into place whole.
    """

    key = models.CharField(max_length=64, primary_key=True, help_text="SHA-256 of interpreter and lock.")
    python_version = models.CharField(max_length=20, help_text="Full version, as 3.11.7.")
    lock = models.TextField(help_text="Pinned requirements, one a line, sorted.")
    gradio_version = models.CharField(
        max_length=40, blank=True, db_index=True, help_text="Of Gradio from the package index; empty without it."
    )
    size_bytes = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    used_at = models.DateTimeField(default=timezone.now)


class Resolution(models.Model):
    """What a set of requirements resolved to, so that the same input need not ask the index again."""

    key = models.CharField(max_length=64, primary_key=True, help_text="SHA-256 of interpreter and requirements.")
    lock = models.TextField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)


class Build(models.Model):
    """One attempt to make a revision runnable. The row is the queue's truth; Celery only rings the bell."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        SUPERSEDED = "superseded"

    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="builds")
    revision = models.CharField(max_length=40)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    factory = models.BooleanField(default=False, help_text="Resolve anew instead of using a stored Resolution.")
    message = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["state", "id"], name="build_state_idx")]


class Deployment(models.Model):
    """A revision that was built. Its files lie, read-only, under `PORTICO_DATA/deployments/<id>/`."""

    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="deployments")
    build = models.OneToOneField(Build, on_delete=models.CASCADE, related_name="deployment")
    revision = models.CharField(max_length=40)
    environment = models.ForeignKey(Environment, null=True, on_delete=models.PROTECT, related_name="deployments")
    sdk = models.CharField(max_length=10, choices=SDK)
    app_file = models.CharField(max_length=500)
    app_port = models.PositiveIntegerField(default=7860)
    base_path = models.CharField(max_length=200, default="/")
    startup_seconds = models.PositiveIntegerField()
    custom_headers = models.JSONField(default=dict, blank=True)
    is_current = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["space"], condition=models.Q(is_current=True), name="one_current_deployment_per_space"
            )
        ]
