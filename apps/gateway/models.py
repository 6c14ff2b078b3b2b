"""One-time codes that turn a portal session into a session on a Space's host; and snapshots of pages."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from apps.builds.models import Deployment
from apps.spaces.models import Space


class AccessCode(models.Model):
    """A code that the portal hands to a browser and the gateway redeems, once, within a minute.

    Like an OAuth 2.0 authorization code (RFC 6749, section 4.1.2); only its digest is kept.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    expires_at = models.DateTimeField(db_index=True)


class Snapshot(models.Model):
    """What was taken of a deployment's page, to draw it while its worker wakes; see `apps.gateway.takes`."""

    deployment = models.OneToOneField(Deployment, on_delete=models.CASCADE, primary_key=True, related_name="snapshot")
    inputs = models.CharField(max_length=64, help_text="Digest of what the page may depend on beside the deployment.")
    digest = models.CharField(max_length=64, blank=True, help_text="SHA-256 of `content`; empty: not to be drawn.")
    content = models.BinaryField(default=b"", help_text="The answers, as `apps.gateway.snapshots` packs them.")
    shape = models.CharField(
        max_length=64, blank=True, help_text="Digest of what an open page and a worker must share."
    )
    refusal = models.CharField(max_length=300, blank=True, help_text="Why it is not to be drawn, for its owner.")
    has_plain_assets = models.BooleanField(
        default=False, help_text="Whether Gradio's own files answer at the root of its host."
    )
    preloads = models.JSONField(
        default=dict, blank=True, help_text="Files that each page asks for, by its path; see `apps.gateway.preloads`."
    )
    starts = models.PositiveSmallIntegerField(default=1, help_text="At how many starts it was taken; 2 for more.")
    taken_at = models.DateTimeField(default=timezone.now)
