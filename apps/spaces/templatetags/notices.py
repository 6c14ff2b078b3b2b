"""`{% load notices %}`: what the signed-in person must be told, on every page."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import RequestContext

from apps.spaces.models import Notice

register = template.Library()


@register.simple_tag(takes_context=True)
def own_notices(context: RequestContext) -> Any:
    """The person's notices that they have not dismissed, newest first."""
    user = context.get("user")
    if user is None or not user.is_authenticated:
        return []
    return Notice.objects.filter(namespace=user.namespace_id, dismissed_at=None).select_related("space__owner")[:5]
