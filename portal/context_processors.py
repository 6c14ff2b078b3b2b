"""What every page may show of the portal itself."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def portal(request: HttpRequest) -> dict[str, Any]:
    return {"portal_url": settings.PORTICO_URL, "spaces_domain": settings.PORTICO_SPACES_DOMAIN}
