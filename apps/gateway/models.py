"""One-time codes that turn a portal session into a session on a Space's host, and those sessions."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.spaces.models import Space


class AccessCode(models.Model):
    """A code that the portal hands to a browser and the gateway redeems, once, within a minute.

    Like an OAuth 2.0 authorization code (RFC 6749, section 4.1.2); only its digest is kept.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    expires_at = models.DateTimeField(db_index=True)
