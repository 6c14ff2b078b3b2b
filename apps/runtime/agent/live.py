"""One worker in the agent's hands: brought up until it answers, ended for good, with its row and its log lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.conf import settings
from django.db.utils import Error as DatabaseError

from apps.runtime import services
from apps.runtime.agent.output import Output
from apps.runtime.agent.readiness import Ended, until_ready
from apps.runtime.cancellation import until_done
from apps.runtime.database import in_database
from apps.runtime.errors import StartRefused
from apps.runtime.selectors import StartPlan
from apps.runtime.spawner import Spawner
from apps.sandbox.cgroups import Limits
from apps.spaces.models import Stage

log = structlog.get_logger(__name__)

GRACE_SECONDS = 5.0
STABLE_SECONDS = 60.0
"""A worker that ran this long counts as a fresh attempt when it crashes."""
WITHDRAWN = "It was paused, taken down or deleted while it started."


class StartFailed(Exception):
    """A worker did not come up, and nothing of it is left. The text is the complaint to its Space's owner."""

    def __init__(self, live: Live, complaint: str) -> None:
        super().__init__(complaint)
        self.live, self.complaint = live, complaint


@dataclass(eq=False)
class Live:
    """A worker that was started and is not known to have ended.

    Attributes:
        attempt: how often its place was tried before and failed; None for the Space's first worker, whose attempts
            its keeper counts.
    """

    plan: StartPlan
    spawner: Spawner
    output: Output
    port: int
    attempt: int | None = None
    ready_at: float = field(default_factory=time.monotonic)
    watcher: asyncio.Task[None] | None = None
    _end: asyncio.Task[None] | None = None

    @property
    def ending(self) -> bool:
        """Whether its end was begun, or is over."""
        return self._end is not None

    @property
    def limits(self) -> Limits:
        return self.plan.spec.limits

    @property
    def was_stable(self) -> bool:
        return time.monotonic() - self.ready_at > STABLE_SECONDS

    def describe(self) -> dict[str, Any]:
        """For callers of the API."""
        return {
            "id": str(self.plan.spec.worker_id),
            "space": self.plan.spec.space_id,
            "port": self.port,
            "node": settings.PORTICO_NODE,
            "deployment_id": self.plan.deployment_id,
        }

    async def bring_up(self, workers: dict[Any, Live], note: Callable[[str], None]) -> None:
        """Start it and wait until it answers; the database knows of every step.

        Args:
            workers: the agent's list of who lives, which it is put on.
            note: writes a line into the Space's log.

        Raises:
            StartRefused: it must not run any more.
            SpawnFailed, Ended, NeverReady: it does not come up.
        """
        spec = self.plan.spec
        if not await in_database(services.worker_starting)(
            spec.worker_id, spec.space_id, self.plan.deployment_id, spec.port, self.plan.given,
            is_first=self.attempt is None,
        ):  # fmt: skip
            raise StartRefused(Stage.STOPPED, WITHDRAWN)
        workers[spec.worker_id] = self
        try:
            await self.spawner.start(self.output.descriptor)
        finally:
            self.output.start()
        note(f"===== started {self.spawner.describe_start()} =====\n")
        # At the same time: the app needs no row to come up.
        noted = asyncio.ensure_future(in_database(services.worker_started)(spec.worker_id, self.spawner.get_state()))
        try:
            self.port = await until_ready(self.spawner)
        finally:
            await noted
        if not await in_database(services.worker_ready)(spec.worker_id, spec.space_id, self.port):
            raise StartRefused(Stage.STOPPED, WITHDRAWN)
        self.ready_at = time.monotonic()

    async def end(self, workers: dict[Any, Live], reason: str) -> None:
        """End it for good, its row and its log lines included; the first reason counts. It is gone when this returns,
        also by a cancellation: whoever breaks off a start must not leave half of a worker."""
        if self._end is None:
            workers.pop(self.plan.spec.worker_id, None)
            self._end = asyncio.create_task(self._end_for_good(reason))
        await until_done(self._end)
        self._end.result()

    async def _end_for_good(self, reason: str) -> None:
        spec = self.plan.spec
        await self.note_stopping()
        await self.spawner.stop(GRACE_SECONDS)
        await self.output.finish(f"===== {reason} =====\n")
        await _tried(in_database(services.worker_ended)(spec.worker_id, spec.space_id, reason))

    async def note_stopping(self) -> None:
        await _tried(in_database(services.worker_stopping)(self.plan.spec.worker_id))

    def complaint(self, error: Exception) -> str:
        """Why it did not come up, for its Space's owner."""
        if isinstance(error, Ended):
            return f"{error.exit.describe(self.limits)} It had not answered yet."
        return str(error)


async def _tried(work: Awaitable[Any]) -> None:
    """A row that cannot be written must not keep a worker alive; the agent's next start makes it true."""
    try:
        await work
    except DatabaseError as error:
        log.warning("row not written", error=str(error))
