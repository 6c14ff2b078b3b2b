"""One worker forked from a zygote, from the agent's side of its socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from typing import Any

from apps.runtime.zygote.kernel import received
from apps.sandbox.cgroups import Cgroup
from apps.sandbox.egress.router import Link

BIRTH_SECONDS = 20.0


class BirthFailed(Exception):
    """It never came so far as to run the app; the text says why."""


class Birth:
    """Follows one child of a zygote, from its fork on: its process ids, and how it ended.

    Args:
        cgroup: which it joins before anything else.

    Attributes:
        theirs: the child's end of its socket, to be given to the zygote.
        init: process id, on this machine, of the first process of its namespaces, once it is there.
        ended: set when nothing of it is left.
        link: its way to the world, if it has one.
        outcome: how the app ended, `{"exit": n}` or `{"signal": n}`; empty when nobody could tell.
    """

    def __init__(self, cgroup: Cgroup | None) -> None:
        self.cgroup = cgroup
        self.init: int | None = None
        self.link: Link | None = None
        self.outcome: dict[str, Any] = {}
        self.ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._outside: asyncio.Future[int] = loop.create_future()
        self._inside: asyncio.Future[int] = loop.create_future()
        self._pidfd = -1
        self._channel, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._channel.setblocking(False)
        loop.add_reader(self._channel, self._hear)

    async def until_outside(self) -> int:
        """Wait until it has its namespaces and waits for a Space. Returns its process id.

        Raises:
            BirthFailed: it did not come so far.
        """
        return await self._until(self._outside)

    async def enter(self, plan: int, output: int, files: int, *kept: int) -> int:
        """Give it a Space, once its user is mapped, and wait until it is in its sandbox without rights, right before
        the app's code. Returns the app's process.

        Args:
            plan: a descriptor of the plan.
            output: where it prints.
            files: a detached mount of the demo's files.
            kept: one of its storage, if it has any.

        Raises:
            BirthFailed: it did not come so far.
            OSError: it has ended.
        """
        socket.send_fds(self._channel, [b"mapped"], [plan, output, files, *kept])
        return await self._until(self._inside)

    async def _until(self, point: asyncio.Future[int]) -> int:
        try:
            async with asyncio.timeout(BIRTH_SECONDS):
                return await asyncio.shield(point)
        except TimeoutError:
            raise BirthFailed("the fork did not enter its sandbox in time") from None

    def _hear(self) -> None:
        try:
            data, sender = received(self._channel)
        except BlockingIOError:
            return
        except OSError:
            data, sender = b"", 0
        if not data:
            self._over()
            return
        message = json.loads(data)
        if message.get("at") == "outside":
            if not self._outside.done():
                self.init = sender
                with contextlib.suppress(ProcessLookupError):
                    self._pidfd = os.pidfd_open(sender)
                self._outside.set_result(sender)
        elif message.get("at") == "inside":
            if not self._inside.done():
                self._inside.set_result(sender)
        elif "error" in message:
            self._fail(message["error"])
        else:
            self.outcome = message

    def _fail(self, why: str) -> None:
        for point in (self._outside, self._inside):
            if not point.done():
                point.set_exception(BirthFailed(why))
                point.exception()  # nobody may be waiting

    def _over(self) -> None:
        if self._channel.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        self._fail("the fork ended before it entered its sandbox")
        self.ended.set()

    def send_signal(self, number: int) -> bool:
        """Returns whether it has, or had, a first process to get it."""
        if self._pidfd < 0:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)
        return True

    def let_go(self) -> None:
        """Have a child that has no Space yet end; `ended` is set when it has."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)

    def give_up(self) -> None:
        """Stop listening; a child that has no Space yet ends by this."""
        self._over()
