"""What embedding keeps."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class ScriptVersion(models.Model):
    """One version of the element's script that this portal has served: pages that name it by its digest have it for
    ever, whatever machine answers and however often the portal was upgraded since."""

    digest = models.CharField(max_length=20, primary_key=True, help_text="The first 20 hex digits of its SHA-256.")
    body = models.TextField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)
