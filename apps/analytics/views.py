from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from apps.analytics.selectors import last_days, totals
from apps.spaces.models import Space
from apps.spaces.views.access import context, owner_only


@require_safe
@owner_only
def analytics(request: HttpRequest, space: Space) -> HttpResponse:
    """How much the Space was used in the last 30 days."""
    bars = last_days(space, timezone.now().date())
    return render(
        request, "analytics/analytics.html", context(request, space, "analytics", bars=bars, total=totals(bars))
    )
