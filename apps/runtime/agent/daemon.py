"""The agent's frame: one per node, holding the keepers, with its clocks and its ends."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from aiohttp import web
from django.conf import settings
from django.db.utils import Error as DatabaseError

from apps.runtime import client, sdks, services
from apps.runtime.agent.api import application
from apps.runtime.agent.keeper import Keeper
from apps.runtime.agent.live import Live
from apps.runtime.agent.sockets import SocketServer
from apps.runtime.agent.turns import Turns
from apps.runtime.database import in_database
from apps.runtime.errors import StartRefused
from apps.runtime.selectors import deployments_of, environments_most_in_use, spec_of_former
from apps.runtime.spawner import WorkerSpec
from apps.runtime.storage import Storages
from apps.runtime.zygote import libraries
from apps.runtime.zygote.pool import NoZygote, Pool
from apps.runtime.zygote.spawner import WorkerSpawner
from apps.sandbox import cgroups
from apps.sandbox.egress.node import Egress
from apps.sandbox.interpreters import find_interpreters
from apps.sandbox.report import machine_report
from apps.spaces import plans
from apps.spaces.models import Space, Stage

log = structlog.get_logger(__name__)

TICK_SECONDS = 0.5
HEARTBEAT_SECONDS = 10
RECONCILE_SECONDS = 30
PRESSED_SECONDS = 15.0
"""Unused for so long, a worker may be put to sleep when memory is short: gateways report activity every few seconds."""
LOOKED_AT = 50
"""Spaces of an Environment whose code is looked at for the libraries that its zygote imports: the newest."""
STARTS_AT_ONCE = max(2, os.cpu_count() or 2)
"""Of those that the agent begins by itself, so that a restart does not become a stampede."""
TURNS = 2 * (os.cpu_count() or 2)
"""Starts at once, whoever asked. A wake waits a part of its time (for the kernel, the database, the app's own
requests to itself), so there are more than processors."""


class Agent:
    """Everything one node runs. `run` returns when it was told to end and nothing is left."""

    def __init__(self) -> None:
        self.workers: dict[UUID, Live] = {}
        self._keepers: dict[int, Keeper] = {}
        self._group = "portico-" + cgroups.mark(settings.PORTICO_DATA)
        self._hierarchy = cgroups.Hierarchy(0)
        # Everybody may enter it, as the users that workers run as must.
        self._scratch = Path("/run", self._group) if os.geteuid() == 0 else settings.PORTICO_RUN / "scratch"
        self._egress = Egress(settings.PORTICO_EGRESS == "world")
        self._zygotes = Pool(self._hierarchy, self._scratch, self._egress, heavy_libraries)
        self._storages = Storages()
        self._turns = Turns(TURNS)
        self._capabilities: dict[str, Any] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._emptying: set[int] = set()

    async def run(self) -> None:
        os.umask(0o077)
        lock = _lock_node()
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._scratch.chmod(0o755)
        self._hierarchy = cgroups.find(self._group)
        self._zygotes = Pool(self._hierarchy, self._scratch, self._egress, heavy_libraries)
        sockets = SocketServer(client.sockets_path(), self._spawner_of, blocks=os.geteuid() != 0)
        runner = web.AppRunner(application(self), access_log=None, shutdown_timeout=1.0)
        try:
            await in_database(services.note_node)()
            await self._end_former_workers()
            await self._egress.tend()
            sockets.start()
            await runner.setup()
            client.api_path().unlink(missing_ok=True)
            await web.UnixSite(runner, str(client.api_path())).start()
            log.info("agent ready", node=settings.PORTICO_NODE, cgroups=self._hierarchy.version)
            self._spawn(self._find_capabilities())
            clock = asyncio.create_task(self._tick())
            await asyncio.wait({clock, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
            if clock.done():
                clock.result()
            clock.cancel()
        finally:
            await runner.cleanup()
            client.api_path().unlink(missing_ok=True)
            await sockets.stop()
            await self._end_all()
            await self._zygotes.end()
            await asyncio.to_thread(self._hierarchy.clear)
            await self._egress.end()
            self._hierarchy.remove()
            shutil.rmtree(self._scratch, ignore_errors=True)
            lock.close()
            log.info("agent ended", node=settings.PORTICO_NODE)

    def keeper(self, space_id: int) -> Keeper:
        """The keeper of a Space, made when it is first asked for."""
        if space_id not in self._keepers:
            self._keepers[space_id] = Keeper(space_id, self._make_spawner, self.workers, self._turns)
        return self._keepers[space_id]

    def note_activity(self, open_requests: Mapping[int, int]) -> None:
        for space_id in open_requests:
            if space_id in self._keepers:
                self._keepers[space_id].note_activity()

    async def clear_storage(self) -> None:
        """Delete what Spaces that are gone have kept here."""
        for name in await in_database(services.storages_to_delete)():
            if await self._storages.delete(name):
                await in_database(services.storage_deleted)(name)

    async def empty_storage(self, space_id: int) -> None:
        """Delete what a Space keeps here, if that was asked for and is not under way. Its workers end for it."""
        name = (await in_database(services.storages_to_empty)()).get(space_id)
        if name is None or space_id in self._emptying:
            return

        async def empty() -> None:
            if await self._storages.delete(name):
                await in_database(services.storage_emptied)(name)
                log.info("storage emptied", space=space_id, storage=str(name))

        self._emptying.add(space_id)
        try:
            await self.keeper(space_id).without_workers(empty, "What it keeps at /data is deleted, as its owner asked.")
        finally:
            self._emptying.discard(space_id)

    def status(self) -> dict[str, Any]:
        now = time.monotonic()
        return {
            "node": settings.PORTICO_NODE,
            "memory": {"available_bytes": available_memory(), "total_bytes": total_memory()},
            "capabilities": self._capabilities,
            "zygotes": self._zygotes.status(),
            "waiting": self._turns.waiting,
            "workers": [
                {
                    **live.describe(),
                    **live.spawner.usage(),
                    "ready": live in self._keepers[live.plan.spec.space_id].serving,
                    "seconds": round(now - live.ready_at, 1),
                }
                for live in self.workers.values()
            ],
        }

    def _make_spawner(self, spec: WorkerSpec) -> WorkerSpawner:
        return WorkerSpawner(spec, self._hierarchy, self._scratch, self._zygotes, self._storages)

    def _spawner_of(self, worker_id: UUID) -> Any:
        live = self.workers.get(worker_id)
        return live.spawner if live else None

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _find_capabilities(self) -> None:
        await asyncio.to_thread(find_interpreters)  # kept from here on, for the first start
        checks = await asyncio.to_thread(machine_report, egress=settings.PORTICO_EGRESS == "world")
        self._capabilities = {c["name"]: {"ok": c["ok"], "detail": c["detail"]} for c in checks}
        await in_database(services.note_node)(self._capabilities)
        for folder, interpreter in await in_database(environments_most_in_use)(settings.PORTICO_ZYGOTES_AT_START):
            with contextlib.suppress(NoZygote):
                await self._zygotes.get(folder, interpreter, sdks.zygote_environment())

    async def _tick(self) -> None:
        """The agent's clock. A database that is away for a while must not end it."""
        heartbeat = reconcile = 0.0
        while True:
            now = time.monotonic()
            try:
                if now >= heartbeat:
                    heartbeat = now + HEARTBEAT_SECONDS
                    await in_database(services.note_node)()
                if now >= reconcile:
                    reconcile = now + RECONCILE_SECONDS
                    await self._reconcile()
                await self._egress.tend()
                await self._zygotes.tidy(sdks.zygote_environment())
                for space_id, keeper in list(self._keepers.items()):
                    if keeper.is_idle:
                        keeper.forget()
                        del self._keepers[space_id]
                    elif keeper.is_due_to_sleep and not keeper.is_working():
                        self._spawn(keeper.sleep_if_idle())
                await self._make_room()
            except DatabaseError as error:
                log.warning("database does not answer", error=str(error))
            await asyncio.sleep(TICK_SECONDS)

    async def _make_room(self) -> None:
        """Put the worker to sleep that nobody used for longest, if this machine is short of memory."""
        if available_memory() >= settings.PORTICO_FREE_MEMORY_BYTES:
            return
        unused = [k for k in self._keepers.values() if k.sleep_seconds > 0 and k.unused_seconds > PRESSED_SECONDS]
        idle = [keeper for keeper in unused if not keeper.is_working()]
        if idle:
            await max(idle, key=lambda keeper: keeper.unused_seconds).sleep_if_idle(PRESSED_SECONDS)

    async def _reconcile(self) -> None:
        """Start what says that it starts; follow changed sleep times; end workers of Spaces that may not run."""
        kept = dict(self._keepers)
        rows = await in_database(_settings_of)(list(kept))
        for space_id, keeper in kept.items():
            if space_id in rows:
                keeper.sleep_seconds = rows[space_id]
            elif keeper.current is not None:
                self._spawn(keeper.stop("Its Space may not run."))
        await in_database(services.note_storage)(self._storages.measured())
        await self.clear_storage()
        for space_id in await in_database(services.storages_to_empty)():
            self._spawn(self.empty_storage(space_id))
        waiting = [s for s in await in_database(services.spaces_to_start)() if self.keeper(s).is_idle]
        if waiting:
            self._spawn(self._start_each(waiting))

    async def _start_each(self, space_ids: list[int]) -> None:
        room = asyncio.Semaphore(STARTS_AT_ONCE)

        async def start(space_id: int) -> None:
            async with room:
                keeper = self.keeper(space_id)
                if not keeper.is_idle:
                    return
                try:
                    await keeper.restart()
                    await keeper.settled()
                except StartRefused:
                    await in_database(services.settle)(space_id)

        await asyncio.gather(*(start(s) for s in space_ids))

    async def _end_all(self) -> None:
        for task in self._background:
            task.cancel()
        keepers = list(self._keepers.values())
        ends = (k.stop("The agent was ended.", stage=Stage.SLEEPING) for k in keepers)
        for outcome in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(outcome, BaseException):
                log.error("worker not ended properly", error=repr(outcome))
        with contextlib.suppress(DatabaseError):
            await in_database(services.note_storage)(self._storages.measured())

    async def _end_former_workers(self) -> None:
        """End what a killed agent left, by its rows and by its control groups, and make the stages true."""
        for worker in await in_database(services.close_workers_of_former_agent)():
            spawner = self._make_spawner(spec_of_former(worker))
            spawner.load_state(worker.spawner_state)
            await spawner.stop(0)
        await asyncio.to_thread(self._hierarchy.clear)


async def heavy_libraries(environment: Path) -> frozenset[str]:
    """Those of `libraries.HEAVY` that Spaces of this Environment import."""
    folders = await in_database(deployments_of)(environment.name, LOOKED_AT)
    return frozenset().union(*await asyncio.to_thread(lambda: [libraries.used_by(folder) for folder in folders]))


def available_memory() -> int:
    """Bytes that may be had without swapping, as the kernel estimates them (proc_meminfo(5))."""
    return _memory("MemAvailable:")


def total_memory() -> int:
    return _memory("MemTotal:")


def _memory(name: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return sys.maxsize


def _settings_of(space_ids: list[int]) -> dict[int, int]:
    """`sleep_seconds` of those Spaces that may run."""
    default = plans.default_plan()
    spaces = (
        Space.objects.select_related("plan")
        .filter(pk__in=space_ids, paused_at=None, taken_down_at=None, owner__suspended_at=None)
        .exclude(stage=Stage.SLEEPING)
    )
    return {space.pk: plans.sleep_seconds(space, space.plan or default) for space in spaces}


def _lock_node() -> Any:
    path = settings.PORTICO_RUN / "agent.lock"
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        sys.exit(f"An agent already runs on {settings.PORTICO_DATA}.")
    return lock
