"""A worker forked from its Environment's zygote: the quick way to start what `BubblewrapSpawner` starts afresh."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apps.runtime import netns, sdks
from apps.runtime.spawner import BubblewrapSpawner, Exit, SpawnFailed, WorkerSpec, without_egress
from apps.runtime.storage import Storages
from apps.runtime.zygote import libraries
from apps.runtime.zygote.births import Birth, BirthFailed
from apps.runtime.zygote.kernel import detached
from apps.runtime.zygote.pool import NoZygote, Pool, Zygote, ZygoteDied
from apps.sandbox import bubblewrap, launch, rights, seccomp
from apps.sandbox.bubblewrap import USER_ID
from apps.sandbox.cgroups import Cgroup, Hierarchy
from apps.sandbox.egress.router import NoEgress
from apps.sandbox.rlimits import rlimits_for
from apps.sandbox.users import own, user_of_space
from apps.sandbox.volumes import Volume

FILTERS = 2
"""The zygote's and its own."""


class ForkSpawner:
    """A worker that is a fork of `zygote`. See `apps.runtime.spawner` for what every spawner promises.

    Args:
        spec: what to run.
        hierarchy: where its control group goes.
        zygote: of the spec's Environment, ready.
        volume: what it keeps, for as long as it runs.
    """

    def __init__(self, spec: WorkerSpec, hierarchy: Hierarchy, zygote: Zygote, volume: Volume | None = None) -> None:
        self.spec, self._hierarchy, self._zygote, self._volume = spec, hierarchy, zygote, volume
        self._cgroup: Cgroup | None = None
        self._birth: Birth | None = None
        self._namespace: int | None = None
        self._exit: Exit | None = None
        self.why_no_link = ""

    async def start(self, output: int) -> None:
        spec, user = self.spec, user_of_space(self.spec.space_id)
        assert user is not None  # the pool has no zygotes for anybody but root
        opened = []
        try:
            birth = self._birth = self._zygote.birth()
            self._cgroup = birth.cgroup
            if self._cgroup is not None:
                self._hierarchy.limit(self._cgroup, spec.limits)
            await asyncio.to_thread(own, spec.deployment_folder, user)
            opened.append(detached(spec.deployment_folder))
            opened.append(launch.in_memory("plan", self._plan()))
            if self._volume is not None:
                opened.append(self._volume.mount())
            init = await birth.until_outside()
            await self._arrange_link(birth, init)
            await self._zygote.map_user(init, user)
            app = await birth.enter(opened[1], output, opened[0], *opened[2:])
            self._check(init, app, user)
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # an app may end at once
                self._namespace = netns.open_namespace(init)
        except (OSError, TimeoutError, BirthFailed) as error:
            if not self._zygote.is_alive:
                raise ZygoteDied("its zygote has died") from error
            out_of_memory = self._cgroup is not None and self._cgroup.out_of_memory_kills() > 0
            await self.stop(0)
            if out_of_memory:
                raise SpawnFailed(Exit(out_of_memory=True).describe(spec.limits)) from error
            raise SpawnFailed(f"It could not be forked: {error}.") from error
        except BaseException:
            await asyncio.shield(self.stop(0))
            raise
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _check(self, init: int, app: int, user: int) -> None:
        """What a fork has done for its own sandbox, the packages that it came with may have kept it from.

        Raises:
            NoZygote: they have.
        """
        for pid in (init, app):
            with contextlib.suppress(OSError):  # an app may end at once
                kept = rights.kept_by(pid, user, filters=FILTERS if seccomp.program() else 0)
                if self._cgroup is not None and self._cgroup.folders and pid not in self._cgroup.pids():
                    kept.append("control groups")
                if kept and not rights.has_ended(pid):
                    raise NoZygote(f"its packages change how a fork enters its sandbox ({', '.join(kept)})")

    async def _arrange_link(self, birth: Birth, pid: int) -> None:
        """See to it, before the app runs, that it has a link to the world if it may have one, and none if not."""
        if not self.spec.egress:
            if birth.link is not None:
                await self._zygote.egress.cut(birth.link)
                birth.link = None
        elif birth.link is None:
            try:
                await self._zygote.connect(birth, pid)
            except NoEgress as error:
                self.why_no_link = str(error)

    def _plan(self) -> bytes:
        rules = seccomp.program()
        return json.dumps(
            {
                "argv": self.spec.argv,
                "environment": dict(self.spec.environment),
                "uid": USER_ID,
                "disk_bytes": self.spec.limits.disk_bytes,
                "rlimits": rlimits_for(self.spec.limits, self._cgroup),
                "writable": [*bubblewrap.SCRATCH, bubblewrap.APP, bubblewrap.DATA],
                "seccomp": rules.hex() if rules else "",
            }
        ).encode()

    async def poll(self) -> Exit | None:
        if self._exit is None and self._birth is not None and self._birth.ended.is_set():
            self._note_exit(self._birth)
        return self._exit

    async def wait(self) -> Exit:
        if self._birth is not None:
            await self._birth.ended.wait()
        found = await self.poll()
        assert found is not None
        return found

    def _note_exit(self, birth: Birth) -> None:
        outcome = birth.outcome
        number = outcome.get("signal", None if outcome else signal.SIGKILL)
        killed = self._cgroup is not None and self._cgroup.out_of_memory_kills() > 0
        self._exit = Exit(outcome.get("exit"), number, killed and outcome.get("exit") != 0)
        self._close()
        self._zygote.births.discard(birth)
        self._zygote.disconnect(birth)

    async def stop(self, grace_seconds: float) -> None:
        birth = self._birth
        if birth is not None and self._exit is None:
            if grace_seconds > 0 and birth.send_signal(signal.SIGTERM):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(birth.ended.wait(), grace_seconds)
            if not birth.ended.is_set():
                self._kill(birth)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(birth.ended.wait(), 5)
                birth.give_up()
            self._note_exit(birth)
        self._close()
        if self._cgroup is not None:
            await asyncio.to_thread(self._cgroup.remove)

    def _kill(self, birth: Birth) -> None:
        if birth.send_signal(signal.SIGKILL):
            return
        birth.let_go()
        if self._cgroup is not None:
            self._cgroup.kill()

    def _close(self) -> None:
        if self._namespace is not None:
            os.close(self._namespace)
            self._namespace = None

    def open_sockets(self, count: int) -> list[socket.socket]:
        if self._namespace is None:
            raise ConnectionError("the worker has ended")
        return netns.open_sockets(self._namespace, count)

    def listening_ports(self) -> set[int]:
        init = self._birth.init if self._birth else None
        return netns.listening_ports(init) if init and self._exit is None else set()

    def describe_start(self) -> str:
        return f"by a fork of its Environment's zygote{without_egress(self.why_no_link)}"

    def waiting_seconds(self) -> float:
        return self._cgroup.waiting_seconds() if self._cgroup is not None else 0.0

    def usage(self) -> dict[str, float | None]:
        if self._cgroup is None:
            return {"memory_bytes": None, "cpu_seconds": None}
        return {"memory_bytes": self._cgroup.memory_bytes(), "cpu_seconds": self._cgroup.cpu_seconds()}

    def get_state(self) -> dict[str, Any]:
        group = next(iter(self._cgroup.folders.values())).name if self._cgroup and self._cgroup.folders else None
        return {"cgroup": group, "pid": self._birth and self._birth.init}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._cgroup = self._hierarchy.groups().get(state.get("cgroup") or "")
        self._exit = Exit()


class WorkerSpawner:
    """A fork of its Environment's zygote where there can be one, else a fresh interpreter.

    Args:
        spec: what to run.
        hierarchy: where control groups go.
        scratch: an empty folder that everybody may enter.
        pool: the node's zygotes, and its egress.
        storages: what the node's Spaces keep.
    """

    def __init__(self, spec: WorkerSpec, hierarchy: Hierarchy, scratch: Path, pool: Pool, storages: Storages) -> None:
        self.spec, self._hierarchy, self._scratch, self._pool = spec, hierarchy, scratch, pool
        self._storages = storages
        self._volume: Volume | None = None
        self._way: ForkSpawner | BubblewrapSpawner = BubblewrapSpawner(spec, hierarchy, scratch, pool.egress)
        self.why_fresh = ""

    async def start(self, output: int) -> None:
        spec = self.spec
        if spec.storage is not None:
            self._volume = await self._storages.take(spec.storage, spec.limits.storage_bytes, spec.space_id)
        try:
            if spec.environment_folder is None:
                raise NoZygote("it has no packages to import")
            if spec.not_forkable:
                raise NoZygote(spec.not_forkable)
            try:
                await self._fork(spec.environment_folder, output)
            except ZygoteDied:
                await self._way.stop(0)
                await self._fork(spec.environment_folder, output)
        except NoZygote as error:
            self.why_fresh = str(error)
            await self._way.stop(0)
            self._way = BubblewrapSpawner(spec, self._hierarchy, self._scratch, self._pool.egress, self._volume)
            await self._way.start(output)

    async def _fork(self, environment: Path, output: int) -> None:
        zygote = await self._pool.get(environment, self.spec.interpreter, sdks.zygote_environment())
        zygote.wanted |= await asyncio.to_thread(libraries.used_by, self.spec.deployment_folder)
        self._way = ForkSpawner(self.spec, self._hierarchy, zygote, self._volume)
        await self._way.start(output)

    async def poll(self) -> Exit | None:
        return await self._way.poll()

    async def wait(self) -> Exit:
        return await self._way.wait()

    async def stop(self, grace_seconds: float) -> None:
        await self._way.stop(grace_seconds)
        volume, self._volume = self._volume, None
        if volume is not None:
            await self._storages.give_back(volume)

    def open_sockets(self, count: int) -> list[socket.socket]:
        return self._way.open_sockets(count)

    def listening_ports(self) -> set[int]:
        return self._way.listening_ports()

    def describe_start(self) -> str:
        if self.why_fresh:
            return f"by a fresh interpreter: {self.why_fresh}{without_egress(self._way.why_no_link)}"
        return self._way.describe_start()

    def usage(self) -> dict[str, float | None]:
        return self._way.usage()

    def waiting_seconds(self) -> float:
        return self._way.waiting_seconds()

    def get_state(self) -> dict[str, Any]:
        return {**self._way.get_state(), "way": "fresh" if self.why_fresh else "fork", "why_fresh": self.why_fresh}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._way.load_state(state)
