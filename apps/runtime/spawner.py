"""How one worker is started, watched and ended.

The agent (`apps.runtime.agent`) decides when; a spawner knows how. The agent makes one spawner per worker from a
`WorkerSpec` and calls, always in its event loop:

1. `start(output)`: start the app; everything it prints goes to the descriptor `output`. Returns once the process is
   on its way and its network can be reached, which is long before the app listens: the agent watches for that itself,
   with `listening_ports` and `open_sockets`.
2. `wait()` or `poll()`: has it ended, and how? Both tell an end for want of memory from a crash.
3. `stop(grace_seconds)`: end it and everything it started; ask first (SIGTERM), then insist. Nothing of it may be
   left when it returns: no process, no control group. It may be called at any time, again, and after the worker ended
   by itself.

`get_state` is kept in the worker's row while it lives. After a crash of the agent a new one makes a spawner for that
row, calls `load_state` and then `stop`, so that whatever survived is found and ended.

To write another one, fulfil `Spawner` and the promises above, and keep to these rules: the app gets the environment
of its spec and no other; it holds no descriptor besides its standard ones; it can reach neither the host's network
nor another worker's; it cannot outlive the agent unless `load_state` makes it reachable again.
`tests/runtime/test_spawner.py` holds every spawner to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from apps.runtime import netns
from apps.sandbox import bubblewrap, launch
from apps.sandbox.bubblewrap import Sandbox
from apps.sandbox.cgroups import Cgroup, Hierarchy, Limits
from apps.sandbox.egress.node import Egress
from apps.sandbox.egress.router import Link, NoEgress
from apps.sandbox.interpreters import Interpreter
from apps.sandbox.users import own, user_of_space
from apps.sandbox.volumes import Volume

START_SECONDS = 20


@dataclass(frozen=True)
class WorkerSpec:
    """All that is needed to run one Space's code.

    Attributes:
        worker_id: names the worker everywhere.
        space_id: whose it is.
        deployment_folder: the demo's files; the worker sees them at `/app`, where it starts.
        environment_folder: its packages, seen at `/opt/environment`. None: the bare interpreter.
        interpreter: the Python that the environment was made with.
        argv: the command, as seen inside.
        environment: the whole environment, secrets included.
        port: where it is expected to listen, on its own 127.0.0.1.
        health_path: an HTTP path that answers once it is ready.
        limits: memory, processes, processors, disk.
        startup_seconds: how long it may take until it answers.
        not_forkable: why it must be started by a fresh interpreter; empty when it may be forked from a zygote.
        storage: the image of what it keeps, seen at `/data`, of `limits.storage_bytes`. None: it keeps nothing.
        egress: whether it may reach the internet.
    """

    worker_id: UUID
    space_id: int
    deployment_folder: Path
    environment_folder: Path | None
    interpreter: Interpreter
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    port: int
    health_path: str
    limits: Limits
    startup_seconds: float
    not_forkable: str = ""
    storage: Path | None = None
    egress: bool = True


@dataclass(frozen=True)
class Exit:
    """How a worker ended. Of `code` and `signal` one is None, or both where it is not known."""

    code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False

    def describe(self, limits: Limits) -> str:
        """One sentence for the Space's owner."""
        if self.out_of_memory:
            return f"It used more memory than the {limits.memory_bytes / 1024**2:,.0f} MiB it may have, and was ended."
        if self.signal is not None:
            with contextlib.suppress(ValueError):
                return f"It was ended by the signal {signal.Signals(self.signal).name}."
            return f"It was ended by the signal {self.signal}."
        if self.code is None:
            return "It ended."
        return f"It ended with exit code {self.code}."


class SpawnFailed(Exception):
    """The worker could not even be started; the text says why."""


class Spawner(Protocol):
    """One worker. The module's docstring is the contract."""

    spec: WorkerSpec

    async def start(self, output: int) -> None:
        """Start the app, its output going to the descriptor `output` (the caller closes its own copy).

        Raises:
            SpawnFailed: it could not be started; nothing is left of the attempt.
        """

    async def poll(self) -> Exit | None:
        """How it ended, None while it runs."""

    async def wait(self) -> Exit:
        """Wait until it ends."""

    async def stop(self, grace_seconds: float) -> None:
        """End it and all it started, with SIGTERM and at most `grace_seconds` before SIGKILL."""

    def open_sockets(self, count: int) -> list[socket.socket]:
        """Unconnected non-blocking TCP sockets in the worker's network. May block for some milliseconds.

        Raises:
            OSError: it has ended.
        """

    def listening_ports(self) -> set[int]:
        """Where it listens on its 127.0.0.1."""

    def describe_start(self) -> str:
        """How it was started, for its owner: `by …`."""

    def usage(self) -> dict[str, float | None]:
        """`memory_bytes` and `cpu_seconds` used, None where not counted."""

    def waiting_seconds(self) -> float:
        """For how long its threads have waited for a processor, all together; 0 where that is not counted."""

    def get_state(self) -> dict[str, Any]:
        """What another process needs to find and end it; JSON."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over a worker of a former agent from its `get_state`."""


SpawnerFactory = Callable[[WorkerSpec], Spawner]


class BubblewrapSpawner:
    """A worker in bubblewrap, in a control group where there are any.

    Args:
        spec: what to run.
        hierarchy: where its control group goes.
        scratch: an empty folder of the node, mounted over by each worker in its own mount namespace.
        egress: the node's.
        volume: what it keeps, for as long as it runs.
    """

    def __init__(
        self, spec: WorkerSpec, hierarchy: Hierarchy, scratch: Path, egress: Egress, volume: Volume | None = None
    ) -> None:
        self.spec, self._hierarchy, self._scratch, self._volume = spec, hierarchy, scratch, volume
        self._egress = egress
        self._link: Link | None = None
        self.why_no_link = ""
        self._cgroup: Cgroup | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = asyncio.Event()
        self._exit: Exit | None = None
        self._init: int | None = None
        self._namespace: int | None = None

    async def start(self, output: int) -> None:
        name = self.spec.worker_id.hex
        try:
            self._cgroup = self._hierarchy.create(name, self.spec.limits) if self._hierarchy.version else None
        except OSError as error:
            raise SpawnFailed(f"Its control group could not be made: {error}.") from error
        info, info_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        go, go_write = os.pipe2(os.O_CLOEXEC)
        user = user_of_space(self.spec.space_id)
        data: int | None = None
        try:
            if user is not None:
                await asyncio.to_thread(own, self.spec.deployment_folder, user)
            if self._volume is not None:
                data = self._volume.mount()
            # In this very thread: the sandbox ends with the thread that started it.
            self._process = launch.start(
                self._sandbox(),
                self.spec.argv,
                limits=self.spec.limits,
                cgroup=self._cgroup,
                scratch=launch.Scratch(self._scratch, self.spec.limits.disk_bytes, self.spec.deployment_folder, data),
                stdout=output,
                stderr=output,
                info_fd=info_write,
                block_fd=go,
                users=None if user is None else (user, 1),
                within=self._egress.within if self.spec.egress else None,
                python=self.spec.interpreter.executable,
            )
            os.close(info_write)
            info_write = -1
            self._watch()
            async with asyncio.timeout(START_SECONDS):
                self._init = json.loads(await _read_all(info))["child-pid"]
            self._namespace = netns.open_namespace(self._init)
            await self._connect()
            os.write(go_write, b"x")
        except (OSError, ValueError, KeyError, TimeoutError) as error:
            ended = await self.poll()
            await self.stop(0)
            if ended and ended.out_of_memory:
                raise SpawnFailed(ended.describe(self.spec.limits)) from error
            raise SpawnFailed("The sandbox could not be started; its log says more.") from error
        except asyncio.CancelledError:
            await self.stop(0)
            raise
        finally:
            for descriptor in (info, go, go_write):
                os.close(descriptor)
            if info_write >= 0:
                os.close(info_write)
            if data is not None:
                os.close(data)

    async def _connect(self) -> None:
        """Give it its link, before the app runs."""
        assert self._namespace is not None
        if self.spec.egress:
            try:
                self._link = await self._egress.connect(self._namespace)
            except NoEgress as error:
                self.why_no_link = str(error)

    def _sandbox(self) -> Sandbox:
        spec = self.spec
        read_only = list(spec.interpreter.mounts)
        if spec.environment_folder is not None:
            read_only.append((spec.environment_folder, bubblewrap.ENVIRONMENT))
        return Sandbox(environment=spec.environment, read_only=tuple(read_only), working_folder=bubblewrap.APP)

    def _watch(self) -> None:
        assert self._process is not None
        loop, descriptor = asyncio.get_running_loop(), os.pidfd_open(self._process.pid)

        def ended() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._note_exit()

        loop.add_reader(descriptor, ended)

    def _note_exit(self) -> None:
        assert self._process is not None
        status = self._process.wait()
        out_of_memory = self._cgroup is not None and self._cgroup.out_of_memory_kills() > 0
        # bubblewrap tells a signal that ended the command as 128 + n.
        number = -status if status < 0 else status - 128 if 128 < status < 128 + signal.NSIG else None
        self._exit = Exit(None if number else status, number, out_of_memory and status != 0)
        self._close_namespace()
        self._ended.set()

    async def poll(self) -> Exit | None:
        return self._exit

    async def wait(self) -> Exit:
        await self._ended.wait()
        assert self._exit is not None
        return self._exit

    async def stop(self, grace_seconds: float) -> None:
        if self._process is not None and self._exit is None:
            if grace_seconds > 0 and self._ask():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), grace_seconds)
            if self._exit is None:
                self._process.kill()
                await self._ended.wait()
        self._close_namespace()
        if self._cgroup is not None:
            await asyncio.to_thread(self._cgroup.remove)

    def _ask(self) -> bool:
        """SIGTERM to the app itself; to bubblewrap it would be an abrupt end of everything."""
        asked = False
        with contextlib.suppress(OSError, ValueError):
            for pid in self._children():
                with contextlib.suppress(ProcessLookupError):
                    descriptor = os.pidfd_open(pid)
                    try:
                        # Once more, now that the number cannot be given to a stranger any longer.
                        if pid in self._children():
                            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                            asked = True
                    finally:
                        os.close(descriptor)
        return asked

    def _children(self) -> list[int]:
        return [int(n) for n in Path(f"/proc/{self._init}/task/{self._init}/children").read_text().split()]

    def open_sockets(self, count: int) -> list[socket.socket]:
        if self._namespace is None:
            raise ConnectionError("the worker has ended")
        return netns.open_sockets(self._namespace, count)

    def listening_ports(self) -> set[int]:
        return netns.listening_ports(self._init) if self._init and self._exit is None else set()

    def describe_start(self) -> str:
        return f"by a fresh interpreter{without_egress(self.why_no_link)}"

    def waiting_seconds(self) -> float:
        return self._cgroup.waiting_seconds() if self._cgroup is not None else 0.0

    def usage(self) -> dict[str, float | None]:
        if self._cgroup is None:
            return {"memory_bytes": None, "cpu_seconds": None}
        return {"memory_bytes": self._cgroup.memory_bytes(), "cpu_seconds": self._cgroup.cpu_seconds()}

    def get_state(self) -> dict[str, Any]:
        return {"cgroup": self.spec.worker_id.hex if self._cgroup else None, "pid": self._init}

    def load_state(self, state: Mapping[str, Any]) -> None:
        # The processes ended with the agent that started them; a stray one would still be in the control group.
        self._cgroup = self._hierarchy.groups().get(state.get("cgroup") or "")
        self._exit = Exit()
        self._ended.set()

    def _close_namespace(self) -> None:
        if self._namespace is not None:
            os.close(self._namespace)
            self._namespace = None
        if self._link is not None:
            self._egress.disconnect(self._link)
            self._link = None


def without_egress(why: str) -> str:
    """What the start line of a log adds where a worker should reach the internet and cannot."""
    return f", without access to the internet ({why})" if why else ""


async def _read_all(descriptor: int) -> bytes:
    """Read a non-blocking pipe to its end."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    parts: list[bytes] = []
    try:
        while True:
            await readable.wait()
            readable.clear()
            with contextlib.suppress(BlockingIOError):
                data = os.read(descriptor, 65536)
                if not data:
                    return b"".join(parts)
                parts.append(data)
    finally:
        loop.remove_reader(descriptor)
