"""How much Spaces are used, by day, for whoever keeps that: a floor above, told every few seconds, never per request.

What is counted says nothing of who it was: no address, cookie or browser is in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from apps.gateway.observe import Outcome, Seen
from apps.runtime.database import in_database

KEEP_SECONDS = 5.0
DAY_SECONDS = 86_400
MAX_KEYS = 50_000
"""Spaces and days that are counted while nobody can keep them; what comes beyond is not counted."""
FAILURES = frozenset({Outcome.BROKEN, Outcome.TIMEOUT})
OWN_ANSWERS = frozenset({Outcome.REFUSED, Outcome.WAKING})


@dataclass(slots=True)
class Tally:
    """What a Space was used for on a day.

    Attributes:
        visits: pages that a browser showed.
        calls: POST requests but for uploads; each prediction of a Gradio app is one.
        wakes: how often it was woken.
        errors: answers with status 500 or more, and requests without one.
        bytes_in, bytes_out: of requests' and answers' bodies, and of websockets' messages.
    """

    visits: int = 0
    calls: int = 0
    wakes: int = 0
    errors: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    def add(self, other: Tally) -> None:
        self.visits += other.visits
        self.calls += other.calls
        self.wakes += other.wakes
        self.errors += other.errors
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out


Tallies = Mapping[tuple[int, date], Tally]
"""By Space and day (UTC)."""


def _nobody(tallies: Tallies) -> None:
    """Without a keeper nothing is kept."""


_keeper: Callable[[Tallies], None] = _nobody


def set_keeper(keeper: Callable[[Tallies], None]) -> None:
    """Say who adds tallies to what is kept, in the database. Called once, when Django starts."""
    global _keeper
    _keeper = keeper


@in_database
def _keep(tallies: Tallies) -> None:
    _keeper(tallies)


class Usage:
    """The tallies of one event loop that are not kept yet."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[int, int], Tally] = {}

    def _of(self, space_id: int, at: float) -> Tally:
        key = (space_id, int(at // DAY_SECONDS))
        found = self._tallies.get(key)
        if found is None:
            found = Tally()
            if len(self._tallies) < MAX_KEYS:
                self._tallies[key] = found
        return found

    def see(self, seen: Seen) -> None:
        """Count an exchange."""
        if not seen.space_id:
            return
        tally = self._of(seen.space_id, seen.at)
        if seen.outcome not in OWN_ANSWERS:
            if seen.is_page:
                tally.visits += seen.status < 400
            elif seen.method == "POST" and not seen.path.endswith(b"/upload"):
                tally.calls += 1
        tally.errors += seen.outcome in FAILURES or (seen.status >= 500 and seen.outcome not in OWN_ANSWERS)
        tally.bytes_in += seen.bytes_in
        tally.bytes_out += seen.bytes_out

    def woke(self, space_id: int) -> None:
        """The Space was woken."""
        self._of(space_id, time.time()).wakes += 1

    async def keep(self) -> None:
        """Hand over what was counted. When that fails it is counted on, and handed over later."""
        taken, self._tallies = self._tallies, {}
        if not taken:
            return
        try:
            await _keep({(space, _date(day)): tally for (space, day), tally in taken.items()})
        except BaseException:
            for key, tally in self._tallies.items():
                taken.setdefault(key, Tally()).add(tally)
            self._tallies = taken
            raise

    async def keep_kept(self) -> None:
        """Hand it over for ever."""
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            await self.keep()


def _date(day: int) -> date:
    return datetime.fromtimestamp(day * DAY_SECONDS, UTC).date()
