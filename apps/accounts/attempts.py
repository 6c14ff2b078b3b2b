"""Counts of what somebody may do only so often, in Django's cache: shared by all processes where that is Redis."""

from __future__ import annotations

from django.core.cache import cache


def count(key: str, seconds: int) -> int:
    """Count one more under `key`, and return how many there are in the period that the first one began."""
    cache.add(key, 0, seconds)
    try:
        return cache.incr(key)
    except ValueError:  # the period ended in between
        return 1


def take_back(key: str) -> None:
    """Count one less, if the period has not ended."""
    try:
        cache.decr(key)
    except ValueError:
        return
