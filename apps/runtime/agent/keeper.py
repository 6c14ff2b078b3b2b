"""One Space's worker, from start to end.

    (none) --ensure, restart--> starting --answers--> ready --idle--> (none), SLEEPING
                                   |                    |
                                   +--ends, never answers, crashes--> (none), RUNTIME_ERROR --back-off--> starting

A keeper does one thing at a time: starts and ends hold its lock. While a new worker starts the former one goes on
serving and is ended after the switch. Whoever asks while a start is under way waits for that start.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog
from channels.db import database_sync_to_async as in_database
from django.conf import settings
from django.db.utils import Error as DatabaseError
from django.utils import timezone

from apps.runtime import services
from apps.runtime.agent.output import Output
from apps.runtime.agent.readiness import Ended, NeverReady, until_ready
from apps.runtime.agent.turns import Turns
from apps.runtime.errors import StartRefused
from apps.runtime.selectors import BY_A_VISIT, StartPlan, start_plan
from apps.runtime.spawner import Spawner, SpawnerFactory, SpawnFailed
from apps.sandbox.cgroups import Limits
from apps.spaces.logs import LogWriter
from apps.spaces.models import Stage
from apps.spaces.stages import set_stage

log = structlog.get_logger(__name__)

GRACE_SECONDS = 5.0
DRAIN_SECONDS = 2.0
"""How long a worker that was replaced goes on answering: gateways may believe an old route for a second."""
STABLE_SECONDS = 60.0
"""A worker that ran this long counts as a fresh attempt when it crashes."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
BUSY_CPUS = 0.05
"""An app that uses more processor time than this while nobody is connected is taken to work on something: a job that
was queued, or one whose asker will come back for the answer."""
LOOK_SECONDS = 1.0
LONGEST_JOB_SECONDS = 3600.0
"""For so long beyond its sleep time; what is busy for ever (a loop in the background) sleeps all the same."""
AFTER_A_CRASH = frozenset({Stage.RUNTIME_ERROR})
OF_A_WORKER = (Stage.APP_STARTING, Stage.RUNNING, Stage.RUNTIME_ERROR)
"""Stages that a worker's fate may replace; in the others a build or a person has the word."""

WITHDRAWN = "It was paused, taken down or deleted while it started."


@dataclass(eq=False)
class Live:
    """A worker that was started and is not known to have ended."""

    plan: StartPlan
    spawner: Spawner
    output: Output
    port: int
    ready_at: float = field(default_factory=time.monotonic)
    ending: bool = False
    watcher: asyncio.Task[None] | None = None

    def describe(self) -> dict[str, Any]:
        """For callers of the API."""
        return {
            "id": str(self.plan.spec.worker_id),
            "space": self.plan.spec.space_id,
            "port": self.port,
            "node": settings.PORTICO_NODE,
            "deployment_id": self.plan.deployment_id,
        }


class Keeper:
    """The keeper of the Space `space_id`; `spawner` makes spawners, `workers` is the agent's list of who lives, `turns`
    are those of its starts."""

    def __init__(self, space_id: int, spawner: SpawnerFactory, workers: dict[Any, Live], turns: Turns) -> None:
        self.space_id = space_id
        self.sleep_seconds = 0
        self.current: Live | None = None
        self._spawner, self._workers, self._turns = spawner, workers, turns
        self._lock = asyncio.Lock()
        self._starting: asyncio.Task[Live] | None = None
        self._retry: asyncio.Task[None] | None = None
        self._failures = 0
        self._active_at = time.monotonic()
        self._asked = 0
        self._look: tuple[Live, float, float] | None = None
        self._log: LogWriter | None = None
        self._background: set[asyncio.Task[None]] = set()

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
        """The worker that answers, started if need be. See `client.ensure_worker` for what is raised."""
        self.note_activity()
        if self.current is not None:
            return self.current.describe()
        task = self._starting or self._begin(BY_A_VISIT)
        return (await self._outcome(task, timeout)).describe()

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
                live, self.current = self.current, None
                self._failures = 0
                if stage is not None:
                    await in_database(set_stage)(self.space_id, stage, only_from=(Stage.RUNNING,))
                if live is not None:
                    await self._end(live, reason)
            await asyncio.gather(*self._background)
        self._close_log()

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
        """Whether the worker uses processor time as one does that works on a job; also while that is not known yet:
        ask again. Not beyond `LONGEST_JOB_SECONDS`."""
        live, now = self.current, time.monotonic()
        used = live.spawner.usage()["cpu_seconds"] if live is not None else None
        if live is None or used is None or self.unused_seconds > self.sleep_seconds + LONGEST_JOB_SECONDS:
            return False
        if self._look is None or self._look[0] is not live:
            self._look = live, now, used
            return True
        _, at, before = self._look
        if now - at < LOOK_SECONDS:
            return True
        self._look = live, now, used
        return used - before > BUSY_CPUS * (now - at)

    async def sleep_if_idle(self, after: float | None = None) -> None:
        """End the worker unless somebody came meanwhile.

        Args:
            after: seconds unused, in place of `sleep_seconds`.
        """
        async with self._lock:
            live = self.current
            idle = self.is_due_to_sleep if after is None else self.unused_seconds > after
            if live is not None and idle:
                self.current = None
                await in_database(set_stage)(self.space_id, Stage.SLEEPING, only_from=(Stage.RUNNING,))
                why = "Nobody used it" if after is None else "Nobody used it, and this machine is short of memory"
                await self._end(live, f"{why}: asleep until somebody comes.")

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
            if self.current is not None and _limits_of(self.current).storage_bytes != plan.spec.limits.storage_bytes:
                # A file system in use cannot be made larger, so this once the new worker waits for the end of the old.
                outgrown, self.current = self.current, None
                await self._end(outgrown, "What it may keep at /data has changed.")
            turn = await self._turns.take(plan.owner_id)
            live = Live(plan, self._spawner(plan.spec), Output(self._open_log(plan)), plan.spec.port)
            try:
                await self._bring_up(live)
            except (SpawnFailed, NeverReady, Ended) as error:
                complaint = _complaint(error, live)
                await self._end(live, complaint)
                raise await self._failed(live, complaint) from error
            except BaseException:
                await asyncio.shield(self._end(live, "Its start was broken off."))
                raise
            finally:
                turn.end()
            former, self.current = self.current, live
            self.note_activity()
            live.watcher = asyncio.create_task(self._watch(live))
            if former is not None:
                self._in_background(self._retire(former))
            return live

    async def _bring_up(self, live: Live) -> None:
        """Start it and wait until it answers; the database knows of every step."""
        spec = live.plan.spec
        if not await in_database(services.worker_starting)(
            spec.worker_id, self.space_id, live.plan.deployment_id, spec.port, live.plan.given
        ):
            raise StartRefused(Stage.STOPPED, WITHDRAWN)
        self._workers[spec.worker_id] = live
        try:
            await live.spawner.start(live.output.descriptor)
        finally:
            live.output.start()
        self._note(f"===== started {live.spawner.describe_start()} =====\n")
        # At the same time: the app needs no row to come up.
        noted = asyncio.ensure_future(in_database(services.worker_started)(spec.worker_id, live.spawner.get_state()))
        try:
            live.port = await until_ready(live.spawner)
        finally:
            await noted
        if not await in_database(services.worker_ready)(spec.worker_id, self.space_id, live.port):
            raise StartRefused(Stage.STOPPED, WITHDRAWN)
        live.ready_at = time.monotonic()

    async def _failed(self, live: Live, complaint: str) -> StartRefused:
        """A start or a worker failed: say so, end a former worker that still serves, try again if there is hope."""
        former, self.current = self.current, None
        if former is not None and former is not live:
            await self._end(former, "Its successor failed.")
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self._failures)
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
        # At once, so that visitors wait for a successor that is starting instead of being led here.
        was_current, has_successor = self.current is live, self._starting is not None
        if was_current:
            self.current = None
        async with self._lock:
            if live.ending:
                return
            if time.monotonic() - live.ready_at > STABLE_SECONDS:
                self._failures = 0
            complaint = exit.describe(live.plan.spec.limits)
            await self._end(live, complaint)
            if was_current and not has_successor:
                await self._failed(live, complaint)

    async def _retire(self, live: Live) -> None:
        await asyncio.sleep(DRAIN_SECONDS)
        await self._end(live, "It was replaced.")

    async def _end(self, live: Live, reason: str) -> None:
        """End one worker for good, its rows and its log lines included."""
        if live.ending:
            return
        live.ending = True
        worker_id = live.plan.spec.worker_id
        self._workers.pop(worker_id, None)
        await _tried(in_database(services.worker_stopping)(worker_id))
        await live.spawner.stop(GRACE_SECONDS)
        await live.output.finish(f"===== {reason} =====\n")
        await _tried(in_database(services.worker_ended)(worker_id, self.space_id, reason))

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


def _limits_of(live: Live) -> Limits:
    return live.plan.spec.limits


def _complaint(error: Exception, live: Live) -> str:
    if isinstance(error, Ended):
        return f"{error.exit.describe(live.plan.spec.limits)} It had not answered yet."
    return str(error)


async def _tried(work: Awaitable[Any]) -> None:
    """A row that cannot be written must not keep a worker alive; the agent's next start makes it true."""
    try:
        await work
    except DatabaseError as error:
        log.warning("row not written", error=str(error))
