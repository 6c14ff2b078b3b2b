"""The further workers of a Space whose plan grants more than one ("replicas").

The first one answers before any of these is begun, so that a wake takes no longer. They are started one after another,
behind whoever waits for a turn. One that ends or does not come up is started again after a pause, a bounded number of
times: the Space is RUNNING as long as any of its workers answers, and its log says what became of the others.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
from django.conf import settings

from apps.runtime.agent.live import Live, StartFailed
from apps.runtime.errors import StartRefused
from apps.runtime.selectors import StartPlan

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
SETTLE_SECONDS = 0.5
"""How long the first worker has the machine to itself: somebody woke it, and waits for the page."""

Start = Callable[[StartPlan, int], Awaitable[Live]]
"""Starts one worker, whose place was tried so many times before. Raises `StartFailed` and `StartRefused`."""


def pause_before(attempt: int) -> float:
    """Seconds before a worker is started again that failed `attempt` times before."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**attempt)


class Replicas:
    """Keeps `serving` filled up to what the plan grants.

    Args:
        serving: the Space's workers that answer, the first one first; shared with its keeper.
        start: how one is started.
        note: writes a line into the Space's log.
    """

    def __init__(self, serving: list[Live], start: Start, note: Callable[[str], None]) -> None:
        self._serving, self._start, self._note = serving, start, note
        self._tasks: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()

    def begin(self, plan: StartPlan, after: float = SETTLE_SECONDS) -> None:
        """Start the others that the plan grants beside the first one, `after` seconds from now."""
        for _ in range(plan.replicas - 1):
            self._begin(plan, 0, after)

    def replace(self, lost: Live) -> str:
        """Start another in the place of one that ended while others answer, if there is hope. Returns what is done, for
        the Space's owner."""
        return self._again(lost.plan, 0 if lost.was_stable else lost.attempt or 0)

    def cancel(self) -> None:
        """Start no more of them; none becomes one that serves from here on."""
        for task in self._tasks:
            task.cancel()

    async def halt(self) -> None:
        """`cancel`, and wait until one that was starting is gone."""
        self.cancel()
        if starting := [task for task in self._tasks if not task.done()]:
            await asyncio.wait(starting)

    def _begin(self, plan: StartPlan, attempt: int, pause: float) -> None:
        task = asyncio.create_task(self._bring(plan, attempt, pause))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bring(self, plan: StartPlan, attempt: int, pause: float) -> None:
        await asyncio.sleep(pause)
        async with self._one_at_a_time:
            another = replace(plan, spec=replace(plan.spec, worker_id=uuid.uuid4()))
            try:
                self._serving.append(await self._start(another, attempt))
            except StartRefused:
                return  # paused, taken down or deleted: what ends the others is on its way
            except StartFailed:
                outlook = self._again(plan, attempt)
            except Exception:  # as a database that is away, which must not cost the Space a worker for good
                log.exception("start of a replica failed", space=plan.spec.space_id)
                outlook = self._again(plan, attempt)
            else:
                return
        self._note(f"===== {outlook} =====\n")

    def _again(self, plan: StartPlan, attempt: int) -> str:
        most = settings.PORTICO_WORKER_RESTARTS
        answer = f"{len(self._serving)} of {plan.replicas} workers {'answer' if self._serving[1:] else 'answers'}."
        if attempt >= most:
            return f"{answer} No other is started by itself: restart the Space, or commit a change."
        pause = pause_before(attempt)
        self._begin(plan, attempt + 1, pause)
        return f"{answer} Another is started in {pause:g} s ({attempt + 1} of {most})."
