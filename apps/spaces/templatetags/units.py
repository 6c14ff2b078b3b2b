"""Sizes as people read them."""

from __future__ import annotations

from django import template

from apps.spaces import units

register = template.Library()


@register.filter
def size(bytes: int | None) -> str:
    return "not counted" if bytes is None else units.size(bytes)
