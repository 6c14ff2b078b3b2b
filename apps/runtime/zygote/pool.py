"""Zygotes of one node: started when an Environment first needs one, replaced when they die, ended when unused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import select
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import structlog

from apps.runtime import netns
from apps.runtime.agent.output import Output
from apps.runtime.zygote import libraries
from apps.runtime.zygote.births import Birth, BirthFailed
from apps.runtime.zygote.kernel import inner_pid
from apps.sandbox import bubblewrap, launch
from apps.sandbox.bubblewrap import Sandbox
from apps.sandbox.cgroups import Cgroup, Hierarchy, Limits
from apps.sandbox.egress.node import Egress
from apps.sandbox.egress.router import NoEgress
from apps.sandbox.interpreters import Interpreter
from apps.sandbox.launcher import INOTIFY
from apps.sandbox.users import COUNT, FIRST

log = structlog.get_logger(__name__)

INSIDE = Path(__file__).with_name("inside")
PROGRAMS = "/opt/portico/zygote"
READY_SECONDS = 60.0
ANSWER_SECONDS = 10.0
SPARE_SECONDS = 0.5
"""How long after a birth the next spare child is made: not while the former one starts its app."""
UNUSED_SECONDS = 1800.0
RETRY_SECONDS = 60.0
LIMITS = Limits(memory_bytes=2 * 1024**3, processes=4096, cpus=2.0, disk_bytes=16 * 1024**2, storage_bytes=2**50)
"""It keeps no files. Its forks may: how large one may be (RLIMIT_FSIZE) they can lower, and not raise."""
PRELOAD_BYTES = 1024**3
"""A zygote imports no more once it is this large; its workers import the rest themselves."""
OLD_SECONDS = 24 * 3600.0
"""A zygote is replaced by then: its children share its memory's layout and its seed of string hashes."""
LEAK_FACTOR, LEAK_BYTES = 1.5, 64 * 1024**2
"""A zygote does nothing but fork. If it holds so much more than when it was ready, it is replaced."""
CHECK_SECONDS = 5.0
PROC = {
    "read_only": bubblewrap.READ_ONLY_PROC,
    "hidden": [*bubblewrap.HIDDEN_FILES, *bubblewrap.HIDDEN_FOLDERS],
    "limits": {"max_user_namespaces": 0, **INOTIFY},
}
"""What its children do to their /proc (`inside/child.py`)."""


class NoZygote(Exception):
    """This app cannot be forked from a zygote; the text says why, for the Space's page."""


class NotForkable(NoZygote):
    """Something that it imported runs threads or holds descriptors, which a fork would leave behind."""


class ZygoteDied(NoZygote):
    """It was there a moment ago; another one can be started."""


@dataclass(frozen=True)
class Key:
    """What a zygote is for: packages and interpreter."""

    environment: Path
    interpreter: Path


class AgentLog:
    """What a zygote prints, in the agent's log. It never gets the agent's own descriptor: packages run code in it (a
    `.pth` file is enough), which could fill a disk, or block the agent's log for good."""

    space_id = 0

    def __init__(self, environment: str) -> None:
        self._environment = environment

    async def awrite(self, data: bytes) -> None:
        for line in data.decode(errors="replace").splitlines():
            if line.strip():
                log.info("zygote said", environment=self._environment, line=line[:1000])


class Zygote:
    """One zygote and its sandbox. Workers forked from it live in that sandbox's process tree.

    Args:
        egress: the node's, for its children.
        used: the heavy libraries that its Spaces import.

    Attributes:
        report: what it imported, how long that took, and how large it became.
        births: workers forked from it that are not known to have ended.
        wanted: heavy libraries that Spaces import, those of `used` and what has been seen since.
    """

    def __init__(
        self,
        key: Key,
        interpreter: Interpreter,
        hierarchy: Hierarchy,
        scratch: Path,
        *,
        egress: Egress,
        used: frozenset[str],
    ) -> None:
        self.key, self.interpreter, self._hierarchy, self._scratch = key, interpreter, hierarchy, scratch
        self.egress = egress
        self.births: set[Birth] = set()
        self.report: dict[str, Any] = {}
        self.used, self.wanted = used, used
        self.used_at = self._started_at = time.monotonic()
        self._ready_bytes: int | None = None
        self.is_over = False
        self._cgroup: Cgroup | None = None
        self._process: Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._nursery: socket.socket | None = None
        self._asking = asyncio.Lock()
        self._spare: Birth | None = None
        self._output: Output | None = None
        self._next: asyncio.TimerHandle | None = None
        self._linking: asyncio.Task[None] | None = None

    async def start(self, environment: Mapping[str, str]) -> None:
        """Start it and wait until it has imported everything.

        Raises:
            NoZygote: it did not come up, or is not safe to fork.
        """
        self._output = Output(AgentLog(self.key.environment.name[:12]))
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._nursery, nursery = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self._nursery.setblocking(False)
        try:
            if self._hierarchy.version:
                self._cgroup = self._hierarchy.create(f"zygote-{id(self):x}-{time.monotonic_ns():x}", LIMITS)
            plan = {"preload": libraries.modules(self.used), "bytes": PRELOAD_BYTES, "proc": PROC}
            self._control.send(json.dumps(plan).encode())
            try:
                self._process = self._launch(environment, control.fileno(), nursery.fileno(), self._output.descriptor)
            finally:
                self._output.start()
            control.close()
            async with asyncio.timeout(READY_SECONDS):
                self.report = json.loads(await asyncio.get_running_loop().sock_recv(self._control, 65536) or b"{}")
        except (OSError, TimeoutError, ValueError) as error:
            raise NoZygote(f"its zygote did not start ({error or 'too slow'})") from error
        finally:
            control.close()
            nursery.close()
        if not self.report:
            raise NoZygote("its zygote ended while it imported the packages")
        if self.report["native_threads"] != 1:
            raise NotForkable(f"its packages start {self.report['native_threads']} threads when they are imported")
        if self.report["left_open"]:
            left_open = ", ".join(self.report["left_open"][:3])
            raise NotForkable(f"its packages hold open what they opened when they were imported: {left_open}"[:300])
        self._ready_bytes = self._cgroup.anonymous_bytes() if self._cgroup else None
        self.prepare()
        log.info("zygote ready", environment=self.key.environment.name[:12], **self.report)

    def _launch(self, environment: Mapping[str, str], control: int, agent: int, log_file: int) -> Popen[bytes]:
        python = f"{bubblewrap.ENVIRONMENT}/bin/python"
        read_only = (
            *self.interpreter.mounts,
            (self.key.environment, bubblewrap.ENVIRONMENT),
            (INSIDE, PROGRAMS),
            launch.INSIDE,
        )
        sandbox = Sandbox(environment=environment, read_only=read_only, for_zygote=True)
        nursery, program = f"{PROGRAMS}/nursery.py", f"{PROGRAMS}/zygote.py"
        return launch.start(
            sandbox,
            (python, "-S", "-E", nursery, python, program, str(control), str(agent)),
            limits=LIMITS,
            cgroup=self._cgroup,
            scratch=launch.Scratch(self._scratch, LIMITS.disk_bytes),
            stdout=log_file,
            stderr=log_file,
            users=(FIRST, COUNT),
            pass_fds=(control, agent),
        )

    @property
    def is_alive(self) -> bool:
        """Whether it can fork: the nursery, which is the process that was started, lives on when it dies."""
        if self.is_over or self._control is None or self._process is None or self._process.poll() is not None:
            return False
        peer = select.poll()
        peer.register(self._control, 0)  # hanging up is told always
        return not peer.poll(0)

    def birth(self) -> Birth:
        """A child that belongs to no Space yet: the spare one, or a new one. Another spare follows in a moment.

        Raises:
            ZygoteDied: another zygote is needed.
            OSError: no control group could be made.
        """
        self.used_at = time.monotonic()
        spare, self._spare = self._spare, None
        birth = spare if spare is not None and not spare.ended.is_set() else self._give_birth()
        self.births.add(birth)
        if self._next is not None:
            self._next.cancel()
        self._next = asyncio.get_running_loop().call_later(SPARE_SECONDS, self.prepare)
        return birth

    def prepare(self) -> None:
        """Have a spare child: forked, in its control groups and namespaces, all of which takes longer than the rest."""
        if self._spare is None and self.is_alive:
            with contextlib.suppress(NoZygote, OSError):
                self._spare = self._give_birth()
                self._linking = asyncio.create_task(self._link(self._spare))

    async def _link(self, spare: Birth) -> None:
        """Most Spaces reach the world: a spare child can already."""
        with contextlib.suppress(BirthFailed, NoEgress, OSError):
            pid = await spare.until_outside()
            if spare is self._spare:
                await self.connect(spare, pid)

    async def connect(self, birth: Birth, pid: int) -> None:
        """Give a child, whose process is `pid`, its link to the world.

        Raises:
            NoEgress: there is none to be had.
            OSError: it has ended.
        """
        namespace = netns.open_namespace(pid)
        try:
            birth.link = await self.egress.connect(namespace)
        finally:
            os.close(namespace)

    def disconnect(self, birth: Birth) -> None:
        """A child has ended."""
        if birth.link is not None:
            self.egress.disconnect(birth.link)
            birth.link = None

    def _give_birth(self) -> Birth:
        assert self._control is not None
        group = self._hierarchy.create(f"birth-{secrets.token_hex(8)}", LIMITS) if self._hierarchy.version else None
        birth = Birth(group)
        opened = [os.open(path, os.O_WRONLY | os.O_CLOEXEC) for path in group.procs_files] if group else []
        try:
            socket.send_fds(self._control, [b"birth"], [birth.theirs.fileno(), *opened])
        except OSError as error:
            self.is_over = True
            birth.give_up()
            if group is not None:
                group.remove()
            raise ZygoteDied("its zygote has died") from error
        finally:
            birth.theirs.close()
            for descriptor in opened:
                os.close(descriptor)
        return birth

    async def map_user(self, pid: int, user: int) -> None:
        """Have the nursery map a worker's user to one of this machine's.

        Raises:
            OSError: it cannot.
            TimeoutError: it does not answer.
        """
        assert self._nursery is not None
        loop = asyncio.get_running_loop()
        async with self._asking, asyncio.timeout(ANSWER_SECONDS):
            await loop.sock_sendall(self._nursery, f"{inner_pid(pid)} {user - FIRST}".encode())
            answer = await loop.sock_recv(self._nursery, 256)
        if answer != b"ok":
            raise OSError(answer.decode(errors="replace") or "the nursery has ended")

    def memory_bytes(self) -> int | None:
        return self._cgroup.memory_bytes() if self._cgroup else None

    def why_stale(self) -> str:
        """Why another one should take its place, empty when none needs to."""
        if time.monotonic() - self._started_at > OLD_SECONDS:
            return "old"
        if self.wanted - self.used:
            return f"Spaces import {', '.join(sorted(self.wanted - self.used))}"
        now = self._cgroup.anonymous_bytes() if self._cgroup else None
        if now and self._ready_bytes and now > self._ready_bytes * LEAK_FACTOR + LEAK_BYTES:
            return f"grown from {self._ready_bytes} to {now} bytes"
        return ""

    async def retire(self) -> None:
        """Fork no more. Its workers live on; what keeps their sandbox stays until `end`."""
        self.is_over = True
        if self._next is not None:
            self._next.cancel()
        if self._control is not None:
            self._control.close()
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.give_up()
            self.disconnect(spare)
            if spare.cgroup is not None:
                await asyncio.to_thread(spare.cgroup.remove)

    async def end(self) -> None:
        """End it and every worker that still comes from it."""
        self.is_over = True
        if self._next is not None:
            self._next.cancel()
        spare, self._spare = self._spare, None
        for channel in (self._control, self._nursery):
            if channel is not None:
                channel.close()
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        if self._output is not None:
            await self._output.finish("")
            self._output = None
        if spare is not None:
            spare.give_up()
            self.disconnect(spare)
        for group in (self._cgroup, spare.cgroup if spare else None):
            if group is not None:
                await asyncio.to_thread(group.remove)


class Pool:
    """The zygotes of a node, one per Environment and interpreter.

    Args:
        hierarchy: where their control groups go.
        scratch: an empty folder that everybody may enter, mounted over by each.
        egress: the node's.
        used: finds the heavy libraries that the Spaces of an Environment import.
    """

    def __init__(
        self,
        hierarchy: Hierarchy,
        scratch: Path,
        egress: Egress,
        used: Callable[[Path], Awaitable[frozenset[str]]],
    ) -> None:
        self._hierarchy, self._scratch, self.egress, self._used = hierarchy, scratch, egress, used
        self._replacing: dict[Key, asyncio.Task[None]] = {}
        self._checked_at = 0.0
        self._zygotes: dict[Key, asyncio.Task[Zygote]] = {}
        self._former: list[Zygote] = []
        self._refused: dict[Key, tuple[str, float]] = {}

    async def get(self, environment: Path, interpreter: Interpreter, defaults: Mapping[str, str]) -> Zygote:
        """The zygote of an Environment, started if there is none. However many ask, one is started.

        Raises:
            NoZygote: there cannot be one.
        """
        if os.geteuid() != 0:
            raise NoZygote("the agent is not root")
        key = Key(environment, interpreter.executable)
        task = self._zygotes.get(key)
        if task is not None and task.done() and (task.cancelled() or task.exception() or not task.result().is_alive):
            if not task.cancelled() and not task.exception():
                self._former.append(task.result())
            del self._zygotes[key]
            task = None
        if task is None:
            if why := self._refusal(key):
                raise NoZygote(why)
            task = asyncio.create_task(self._start(key, interpreter, defaults))
            self._zygotes[key] = task
        return await asyncio.shield(task)

    def _refusal(self, key: Key) -> str:
        """Why there was none when one was tried a moment ago; empty when it may be tried."""
        why, until = self._refused.get(key, ("", 0.0))
        return why if until > time.monotonic() else ""

    async def _start(self, key: Key, interpreter: Interpreter, defaults: Mapping[str, str]) -> Zygote:
        used = await self._used(key.environment)
        try:
            return await self._try(self._make(key, interpreter, used), defaults)
        except NotForkable:
            if not used:
                raise
        # Which of them it was is not told from outside: without them, its workers import them themselves.
        self._refused.pop(key, None)
        bare = self._make(key, interpreter, frozenset())
        found = await self._try(bare, defaults)
        found.used = found.wanted = used
        return found

    def _make(self, key: Key, interpreter: Interpreter, used: frozenset[str]) -> Zygote:
        return Zygote(key, interpreter, self._hierarchy, self._scratch, egress=self.egress, used=used)

    async def _try(self, zygote: Zygote, defaults: Mapping[str, str]) -> Zygote:
        try:
            await zygote.start(defaults)
        except BaseException as error:
            await asyncio.shield(zygote.end())
            if isinstance(error, NoZygote):
                self._refused[zygote.key] = (str(error), time.monotonic() + RETRY_SECONDS)
                log.warning("no zygote", environment=zygote.key.environment.name[:12], why=str(error))
            raise
        return zygote

    async def tidy(self, defaults: Mapping[str, str]) -> None:
        """End zygotes that nobody used for a while, and sandboxes of dead ones once their last worker is gone; begin
        to replace stale ones."""
        now = time.monotonic()
        for key, zygote in self._ready().items():
            if not zygote.is_alive or (not zygote.births and now - zygote.used_at > UNUSED_SECONDS):
                del self._zygotes[key]
                self._former.append(zygote)
        for zygote in [z for z in self._former if not z.births]:
            self._former.remove(zygote)
            await zygote.end()
        if now - self._checked_at > CHECK_SECONDS:
            self._checked_at = now
            for key, zygote in self._ready().items():
                if (why := zygote.why_stale()) and key not in self._replacing and not self._refusal(key):
                    log.info("zygote is replaced", environment=key.environment.name[:12], why=why)
                    self._replacing[key] = asyncio.create_task(self._replace(key, zygote, defaults))

    async def _replace(self, key: Key, stale: Zygote, defaults: Mapping[str, str]) -> None:
        """Put another one in its place once that is ready; until then it goes on forking."""
        try:
            task = asyncio.create_task(self._start(key, stale.interpreter, defaults))
            await task
            self._zygotes[key] = task
            self._former.append(stale)
            await stale.retire()
        except NoZygote:
            pass  # said already; the stale one goes on, and this is tried again
        except Exception as error:  # the database may be away
            log.warning("zygote not replaced", environment=key.environment.name[:12], error=repr(error))
        finally:
            del self._replacing[key]

    def _ready(self) -> dict[Key, Zygote]:
        done = {key: t for key, t in self._zygotes.items() if t.done() and not t.cancelled() and not t.exception()}
        return {key: task.result() for key, task in done.items()}

    async def end(self) -> None:
        """End all of them, and their workers."""
        for replacing in list(self._replacing.values()):
            replacing.cancel()
        await asyncio.gather(*self._replacing.values(), return_exceptions=True)
        for task in self._zygotes.values():
            if not task.done():
                task.cancel()
        outcomes = await asyncio.gather(*self._zygotes.values(), return_exceptions=True)
        zygotes = [z for z in outcomes if isinstance(z, Zygote)] + self._former
        await asyncio.gather(*(z.end() for z in zygotes))
        self._zygotes, self._former = {}, []

    def status(self) -> list[dict[str, object]]:
        """For `/status`: what each holds."""
        return [
            {
                "environment": z.key.environment.name,
                "workers": len(z.births),
                "memory_bytes": z.memory_bytes(),
                "imported": z.report.get("imported"),
            }
            for z in self._ready().values()
        ]
