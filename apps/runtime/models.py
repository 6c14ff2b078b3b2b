"""What runs where, as the agents report it."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from apps.builds.models import Deployment
from apps.spaces.models import Space


class Node(models.Model):
    """A machine that holds workers, with what its agent found it can do."""

    name = models.CharField(max_length=100, primary_key=True)
    capabilities = models.JSONField(default=dict)
    seen_at = models.DateTimeField(default=timezone.now)


class Worker(models.Model):
    """The sandboxed process tree that runs one Space's code."""

    class State(models.TextChoices):
        STARTING = "starting"
        READY = "ready"
        STOPPING = "stopping"
        ENDED = "ended"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="workers")
    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="workers")
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="workers")
    state = models.CharField(max_length=8, choices=State, default=State.STARTING)
    port = models.PositiveIntegerField(help_text="Inside the worker's own network namespace.")
    given = models.JSONField(default=dict, help_text="The plan and the limits that it was started with.")
    spawner_state = models.JSONField(default=dict, help_text="What the spawner needs to find it again.")
    started_at = models.DateTimeField(default=timezone.now)
    ready_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.TextField(blank=True)

    class Meta:
        ordering = ["-started_at"]
        indexes = [models.Index(fields=["space", "state"], name="worker_space_state_idx")]


class Storage(models.Model):
    """What a Space keeps at `/data`, and on which node: an image of a file system (`apps.sandbox.volumes`). Without a
    Space it is to be deleted by that node's agent."""

    name = models.UUIDField(primary_key=True, help_text="Of the image; the id of the Space's repository.")
    space = models.OneToOneField(Space, null=True, on_delete=models.SET_NULL, related_name="storage")
    node = models.CharField(max_length=100)
    used_bytes = models.PositiveBigIntegerField(default=0)
    measured_at = models.DateTimeField(default=timezone.now)
    is_to_be_emptied = models.BooleanField(default=False, help_text="Its owner asked for that; its node does it.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
