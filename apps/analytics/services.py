"""Keeping days, and forgetting them."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import islice

from django.db import transaction
from django.db.models import Case, F, Value, When

from apps.analytics.models import Day
from apps.gateway.usage import Tallies, Tally
from apps.spaces.models import Space

KEPT_DAYS = 400
FIELDS = ("visits", "calls", "wakes", "errors", "bytes_in", "bytes_out")
AT_ONCE = 50
"""Days in one statement: SQLite bounds the depth of an expression."""


def add(tallies: Tallies) -> None:
    """Add what was counted to what is kept. Of Spaces that are gone nothing is."""
    rest = iter(tallies.items())
    with transaction.atomic():
        while part := dict(islice(rest, AT_ONCE)):
            _add(part)


def _add(tallies: Tallies) -> None:
    # Locked in one order, so that no Space goes meanwhile and no two processes wait for each other.
    spaces = Space.objects.filter(pk__in={space for space, _ in tallies}).order_by("pk").select_for_update(no_key=True)
    there = set(spaces.values_list("pk", flat=True))
    tallies = {key: tally for key, tally in tallies.items() if key[0] in there}
    if not tallies:
        return
    Day.objects.bulk_create([Day(space_id=s, date=d) for s, d in tallies], ignore_conflicts=True)
    days = {(d.space_id, d.date): d.pk for d in Day.objects.filter(space__in=there, date__in={d for _, d in tallies})}
    by_pk = {days[key]: tally for key, tally in tallies.items()}
    Day.objects.filter(pk__in=by_pk).update(**{field: F(field) + _amounts(by_pk, field) for field in FIELDS})


def _amounts(by_pk: dict[int, Tally], field: str) -> Case:
    return Case(*(When(pk=pk, then=Value(getattr(tally, field))) for pk, tally in by_pk.items()), default=Value(0))


def prune(today: date) -> int:
    """Delete days that are older than `KEPT_DAYS`; returns how many."""
    return Day.objects.filter(date__lt=today - timedelta(days=KEPT_DAYS)).delete()[0]
