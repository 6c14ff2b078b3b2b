from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from apps.analytics.models import Day
from apps.spaces.models import Space

SHOWN_DAYS = 30


@dataclass(frozen=True)
class Bar:
    """A day, and how long its bar is, in percent of the longest."""

    day: Day
    percent: int


def last_days(space: Space, today: date) -> list[Bar]:
    """The last 30 days, newest first; those on which nothing happened are there too."""
    first = today - timedelta(days=SHOWN_DAYS - 1)
    kept = {day.date: day for day in Day.objects.filter(space=space, date__range=(first, today))}
    dates = [today - timedelta(days=n) for n in range(SHOWN_DAYS)]
    days = [kept.get(date, Day(space=space, date=date)) for date in dates]
    longest = max(day.visits + day.calls for day in days) or 1
    return [Bar(day, round(100 * (day.visits + day.calls) / longest)) for day in days]


def totals(bars: list[Bar]) -> Day:
    """The sums of these days."""
    fields = ("visits", "calls", "wakes", "errors", "bytes_in", "bytes_out")
    return Day(**{field: sum(getattr(bar.day, field) for bar in bars) for field in fields})
