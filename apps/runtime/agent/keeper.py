"""One Space's workers, from start to end.

    (none) --ensure, restart--> starting --answers--> ready --idle--> (none), SLEEPING
                                   |                    |
                                   +--ends, never answers, crashes--> (none), RUNTIME_ERROR --back-off--> starting

A keeper does one thing at a time: starts and ends hold its lock. While a new worker starts the former one goes on
serving and is ended after the switch. Whoever asks while a start is under way waits for that start.

Where the plan grants more than one, `replicas` starts the others once the first answers; all end together. The first
of `serving` is the one that a wake waits for and a restart begins with; when it dies, the next one is the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import structlog
from django.conf import settings
from django.utils import timezone

from apps.runtime import services
from apps.runtime.agent.live import Live, StartFailed
from apps.runtime.agent.output import Output
from apps.runtime.agent.readiness import Ended, NeverReady
from apps.runtime.agent.replicas import SETTLE_SECONDS, Replicas, pause_before
from apps.runtime.agent.turns import Turns
from apps.runtime.database import in_database
from apps.runtime.errors import StartRefused
from apps.runtime.selectors import BY_A_VISIT, StartPlan, start_plan
from apps.runtime.spawner import SpawnerFactory, SpawnFailed
from apps.spaces.logs import LogWriter
from apps.spaces.models import Stage
from apps.spaces.stages import set_stage

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 2.0
"""How long a worker that was replaced goes on answering: gateways may believe an old route for a second."""
BUSY_CPUS = 0.05
"""An app that uses more processor time than this while nobody is connected is taken to work on something: a job that
was queued, or one whose asker will come back for the answer."""
LOOK_SECONDS = 1.0
LONGEST_JOB_SECONDS = 3600.0
"""For so long beyond its sleep time; what is busy for ever (a loop in the background) sleeps all the same."""
AFTER_A_CRASH = frozenset({Stage.RUNTIME_ERROR})
OF_A_WORKER = (Stage.APP_STARTING, Stage.RUNNING, Stage.RUNTIME_ERROR)
"""Stages that a worker's fate may replace; in the others a build or a person has the word."""


class Keeper:
    """The keeper of the Space `space_id`; `spawner` makes spawners, `workers` is the agent's list of who lives, `turns`
    are those of its starts."""

    def __init__(self, space_id: int, spawner: SpawnerFactory, workers: dict[Any, Live], turns: Turns) -> None:
        self.space_id = space_id
        self.sleep_seconds = 0
        self.serving: list[Live] = []
        self._spawner, self._workers, self._turns = spawner, workers, turns
        self._lock = asyncio.Lock()
        self._starting: asyncio.Task[Live] | None = None
        self._retry: asyncio.Task[None] | None = None
        self._failures = 0
        self._active_at = time.monotonic()
        self._asked = 0
        self._look: tuple[list[Live], float, float, float] | None = None
        self._log: LogWriter | None = None
        self._replicas = Replicas(self.serving, self._bring_up, self._note)
        self._background: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> Live | None:
        """The first of those that answer."""
        return self.serving[0] if self.serving else None

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to keep, nor anybody about to ask for something."""
        busy = self._starting or self._retry or self._background or self._asked or self._lock.locked()
        return not (self.current or busy)

    @contextlib.contextmanager
    def _attending(self) -> Iterator[None]:
        """Hold the agent off from forgetting this keeper, and making another for the same Space, between two steps."""
        self._asked += 1
        try:
            yield
        finally:
            self._asked -= 1

    def note_activity(self) -> None:
        self._active_at = time.monotonic()

    async def ensure(self, timeout: float) -> dict[str, Any]:
        """The worker that answers, started if need be, and the others that do. See `client.ensure_worker` for what is
        raised."""
        self.note_activity()
        live = self.current
        if live is None:
            live = await self._outcome(self._starting or self._begin(BY_A_VISIT), timeout)
        return {**live.describe(), "others": [other.describe() for other in self.serving if other is not live]}

    async def restart(self) -> None:
        """Begin to start the current deployment afresh."""
        with self._attending():
            await self._restart()

    async def _restart(self) -> None:
        await self._plan()  # refuses now rather than in a task
        for task in (self._retry, self._starting):
            if task is not None:
                task.cancel()  # the new one waits for its lock; whoever waits for it waits for the new one
        self._retry, self._failures = None, 0
        self._begin(None)

    async def stop(self, reason: str, *, stage: Stage | None = None) -> None:
        """End whatever runs or starts. `stage` is set if the Space was RUNNING."""
        with self._attending():
            await self._cancel_start()
            async with self._lock:
                lives = self._withdraw()
                self._failures = 0
                if stage is not None:
                    await in_database(set_stage)(self.space_id, stage, only_from=(Stage.RUNNING,))
                await self._end_all(lives, reason)
            await asyncio.gather(*self._background)
        self._close_log()

    async def without_workers(self, work: Callable[[], Awaitable[None]], reason: str) -> None:
        """Do something while nothing of the Space runs: end what does, for `reason`, and start it afresh afterwards."""
        with self._attending():
            ran = bool(self.serving or self._starting or self._retry)
            await self._cancel_start()
            async with self._lock:
                await self._end_all(self._withdraw(), reason)
                await asyncio.gather(*self._background)  # those that were just replaced
                await work()
            if ran and self._starting is None:
                try:
                    await self._restart()
                except StartRefused:
                    await in_database(services.settle)(self.space_id)

    @property
    def unused_seconds(self) -> float:
        """For how long nobody has used the worker; 0 when there is none, or one that starts."""
        if self.current is None or self._starting is not None:
            return 0.0
        return time.monotonic() - self._active_at

    @property
    def is_due_to_sleep(self) -> bool:
        """Whether there is a worker that nobody used for `sleep_seconds`; 0 keeps it awake."""
        return self.unused_seconds > self.sleep_seconds > 0

    def is_working(self) -> bool:
        """Whether its workers use processor time, or wait for some on a busy machine, all together, as one does that
        works on a job; also while that is not known yet: ask again. Not beyond `LONGEST_JOB_SECONDS`."""
        lives, now, used, waited = list(self.serving), time.monotonic(), 0.0, 0.0
        if not lives or self.unused_seconds > self.sleep_seconds + LONGEST_JOB_SECONDS:
            return False
        before = self._look if self._look is not None and self._look[0] == lives else None
        if before is not None and now - before[1] < LOOK_SECONDS:
            return True
        for live in lives:
            seconds = live.spawner.usage()["cpu_seconds"]
            if seconds is None:
                return False
            used += seconds
            waited += live.spawner.waiting_seconds()
        self._look = lives, now, used, waited
        if before is None:
            return True
        _, at, used_before, waited_before = before
        # What threads that have ended had waited is counted no more.
        return used - used_before + max(0.0, waited - waited_before) > BUSY_CPUS * (now - at)

    async def sleep_if_idle(self, after: float | None = None) -> None:
        """End the workers unless somebody came meanwhile.

        Args:
            after: seconds unused, in place of `sleep_seconds`.
        """
        async with self._lock:
            idle = self.is_due_to_sleep if after is None else self.unused_seconds > after
            if self.serving and idle:
                lives = self._withdraw()
                await in_database(set_stage)(self.space_id, Stage.SLEEPING, only_from=(Stage.RUNNING,))
                why = "Nobody used it" if after is None else "Nobody used it, and this machine is short of memory"
                await self._end_all(lives, f"{why}: asleep until somebody comes.")

    async def settled(self) -> None:
        """Wait until no start is under way."""
        while (task := self._starting) is not None:
            await asyncio.wait({task})
            await asyncio.sleep(0)

    def _begin(self, stages: frozenset[Stage] | None) -> asyncio.Task[Live]:
        task = asyncio.create_task(self._start(stages))
        self._starting = task

        def done(task: asyncio.Task[Live]) -> None:
            if self._starting is task:
                self._starting = None
            if not task.cancelled() and (error := task.exception()) and not isinstance(error, StartRefused):
                log.error("start failed", space=self.space_id, exc_info=error)

        task.add_done_callback(done)
        return task

    async def _outcome(self, task: asyncio.Task[Live], timeout: float) -> Live:
        deadline = time.monotonic() + timeout
        while True:
            done, _ = await asyncio.wait({task}, timeout=max(0.0, deadline - time.monotonic()))
            if not done:
                raise TimeoutError
            if not task.cancelled():
                return task.result()
            if self._starting is None:
                raise StartRefused(Stage.STOPPED, "It was stopped while it started.")
            task = self._starting  # a restart took its place

    async def _cancel_start(self) -> None:
        for task in (self._retry, self._starting):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait({task})
        self._retry = self._starting = None

    async def _plan(self, stages: frozenset[Stage] | None = None) -> StartPlan:
        try:
            return await in_database(start_plan)(self.space_id, stages=stages)
        except StartRefused as refused:
            if refused.stage == Stage.RUNTIME_ERROR:
                await in_database(set_stage)(self.space_id, Stage.RUNTIME_ERROR, refused.message)
            raise

    async def _start(self, stages: frozenset[Stage] | None) -> Live:
        async with self._lock:
            plan = await self._plan(stages)
            self.sleep_seconds = plan.sleep_seconds
            await self._replicas.halt()
            current = self.current
            if current is not None and current.limits.storage_bytes != plan.spec.limits.storage_bytes:
                # A file system in use cannot be made larger, so this once the new worker waits for the end of the old.
                await self._end_all(self._withdraw(), "What it may keep at /data has changed.")
            try:
                live = await self._bring_up(plan, None)
            except StartFailed as failed:
                raise await self._failed(failed.live, failed.complaint) from failed
            formers, self.serving[:] = self.serving[:], [live]
            self.note_activity()
            for former in formers:
                self._in_background(self._retire(former))
            self._replicas.begin(plan, after=DRAIN_SECONDS if formers else SETTLE_SECONDS)
            return live

    async def _bring_up(self, plan: StartPlan, attempt: int | None) -> Live:
        """Start one worker in its owner's turn, and wait until it answers. See `Live` for `attempt`."""
        turn = await self._turns.take(plan.owner_id)
        try:
            live = Live(plan, self._spawner(plan.spec), Output(self._open_log(plan)), plan.spec.port, attempt)
            try:
                await live.bring_up(self._workers, self._note)
            except (SpawnFailed, NeverReady, Ended) as error:
                complaint = live.complaint(error)
                await live.end(self._workers, complaint)
                raise StartFailed(live, complaint) from error
            except BaseException:
                await live.end(self._workers, "Its start was broken off.")
                raise
        finally:
            turn.end()
        live.watcher = asyncio.create_task(self._watch(live))
        return live

    async def _failed(self, live: Live, complaint: str) -> StartRefused:
        """A start or a worker failed: say so, end a former worker that still serves, try again if there is hope."""
        await self._end_all(self._withdraw(), "Its successor failed.")
        pause = pause_before(self._failures)
        again = self._failures < settings.PORTICO_WORKER_RESTARTS
        self._failures += 1
        outlook = (
            f"It is started again in {pause:g} s ({self._failures} of {settings.PORTICO_WORKER_RESTARTS})."
            if again
            else "It is not started again by itself: restart it, or commit a change."
        )
        lines = live.output.last_lines()
        message = f"{complaint} {outlook}" + (f"\n\n{lines}" if lines else "")
        stands = await in_database(set_stage)(self.space_id, Stage.RUNTIME_ERROR, message, only_from=OF_A_WORKER)
        if again and stands:
            self._retry = asyncio.create_task(self._start_again(pause))
        return StartRefused(Stage.RUNTIME_ERROR, message)

    async def _start_again(self, pause: float) -> None:
        await asyncio.sleep(pause)
        self._retry = None
        self._begin(AFTER_A_CRASH)

    async def _watch(self, live: Live) -> None:
        """Tell a crash from an end that was asked for."""
        exit = await live.spawner.wait()
        if live.ending:
            return
        # At once, so that visitors go to another, or wait for a successor that is starting, instead of being led here.
        served, has_successor = live in self.serving, self._starting is not None
        complaint = exit.describe(live.limits)
        if served:
            self.serving.remove(live)
        if served and self.serving:
            outlook = "" if has_successor else f" {self._replicas.replace(live)}"
            await live.end(self._workers, complaint + outlook)
            return
        if served:
            await self._replicas.halt()
        async with self._lock:
            if live.ending:
                return
            if live.was_stable:
                self._failures = 0
            await live.end(self._workers, complaint)
            if served and not has_successor:
                await self._failed(live, complaint)

    async def _retire(self, live: Live) -> None:
        await live.note_stopping()  # at once: it still answers, but is none of those that the Space has now
        await asyncio.sleep(DRAIN_SECONDS)
        await live.end(self._workers, "It was replaced.")

    def _withdraw(self) -> list[Live]:
        """Lead nobody to any worker any more, and start no other; returns those that are to be ended."""
        self._replicas.cancel()
        lives = self.serving[:]
        self.serving.clear()
        return lives

    async def _end_all(self, lives: list[Live], reason: str) -> None:
        """End workers, all at the same time, and whichever other was starting."""
        ends = [self._replicas.halt(), *(live.end(self._workers, reason) for live in lives)]
        for outcome in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    def _in_background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _open_log(self, plan: StartPlan) -> LogWriter:
        if self._log is None:
            self._log = LogWriter(self.space_id, "run")
        at = timezone.now().isoformat(sep=" ", timespec="seconds")
        self._log.write(f"===== starting at {at}, revision {plan.revision[:12]} =====\n".encode())
        return self._log

    def _note(self, text: str) -> None:
        if self._log is not None:
            with contextlib.suppress(OSError):
                self._log.write(text.encode())

    def _close_log(self) -> None:
        if self._log is not None and self.is_idle:
            self._log.close()
            self._log = None

    def forget(self) -> None:
        """Free what an idle keeper holds."""
        self._close_log()
