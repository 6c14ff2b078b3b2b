"""A hostile demo that does what a test asks of it, in a real worker."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings

from apps.runtime import client
from apps.runtime.models import Worker as WorkerRow
from apps.spaces.models import Space
from tests.ordinary import as_user, owned
from tests.running_agent import (
    AGENT,
    SERVER,
    RunningAgent,
    bare_environment,
    ensure,
    fetch,
    sleeping_space,
)
from tests.waiting import wait_until

WAYS = ("fresh", "forked")
"""How a worker may be started: by a fresh interpreter, or as a fork of a zygote."""
_ROOT = os.geteuid() == 0
EVERY_WAY = pytest.mark.parametrize(
    ("agent_is", "way"),
    [("root", "fresh"), ("root", "forked"), ("ordinary", "fresh")] if _ROOT else [("ordinary", "fresh")],
    ids=["fresh", "forked", "ordinary"] if _ROOT else ["ordinary"],
    indirect=True,
    scope="module",
)
"""Each test of a file for whom the agent may be, and for each way in which it starts workers: root forks them too. Who
is not root can only try the one.
"""


@contextlib.contextmanager
def agent_of(who: str, **environment: str) -> Iterator[RunningAgent]:
    """A running agent of `root`, or of an `ordinary` user: another one than the tests' where these are root's."""
    if who == "root" or not _ROOT:
        with RunningAgent(**environment) as agent:
            yield agent
    else:
        with owned(Path(settings.PORTICO_DATA)), RunningAgent(as_user(AGENT), **environment) as agent:
            yield agent


SPY = (
    SERVER
    + """
import json, socket, stat, subprocess, urllib.parse
held = sorted(os.listdir("/proc/self/fd"))
open_files = {n: os.readlink(f"/proc/self/fd/{n}") for n in held if os.path.islink(f"/proc/self/fd/{n}")}

def attempt(action):
    try:
        return action()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def reach(family, address):
    with socket.socket(family) as s:
        s.settimeout(1)
        s.connect(address)
    return "reached"

def write(path, text="x"):
    with open(path, "w") as file:
        file.write(text)
    return "written"

def writable_proc():
    found = []
    for root, folders, files in os.walk("/proc"):
        folders[:] = [f for f in folders if not f.isdigit() and f not in ("self", "thread-self", "task")]
        for name in files:
            path = os.path.join(root, name)
            try:
                os.close(os.open(path, os.O_WRONLY))
            except OSError:
                continue
            if not stat.S_ISCHR(os.stat(path).st_mode):
                found.append(path)
    return found

def userns():
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    return [libc.unshare(flag) for flag in (0x10000000, 0x00020000, 0x40000000)]

class Spy(Handler):
    def answer(self):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        if "exec" in query:
            def run():
                names = dict(globals())
                exec(query["exec"], names)
                return names["found"]
            return json.dumps(attempt(run), default=str)
        if "eval" in query:
            return json.dumps(attempt(lambda: eval(query["eval"])), default=str)
        return "ready"

serve(Spy)
"""
)


ATTACH = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
found = "attached" if libc.shmget({}, 0, 0) >= 0 else ctypes.get_errno()
"""
"""To shared memory of a key."""


@contextlib.contextmanager
def machine_memory() -> Iterator[int]:
    """The key of a segment of this machine's System V shared memory that everybody may write."""
    libc, key = ctypes.CDLL(None, use_errno=True), secrets.randbelow(2**30) + 1
    segment = libc.shmget(key, 4096, 0o1666)  # IPC_CREAT
    assert segment >= 0, os.strerror(ctypes.get_errno())
    try:
        yield key
    finally:
        libc.shmctl(segment, 0, None)  # IPC_RMID


def cgroups_seen(worker: Worker) -> set[str]:
    """The paths of its control groups as it sees them."""
    return {line.split(":", 2)[2] for line in str(worker.ask("open('/proc/self/cgroup').read()")).splitlines()}


def capability(name: str) -> dict[str, Any]:
    """What the agent has found of this machine: a line of `portico status`."""
    found = wait_until(lambda: asyncio.run(client.agent_status())["capabilities"].get(name))
    assert isinstance(found, dict)
    return found


def space_of(way: str, files: dict[str, str] | str = SPY) -> Space:
    """A sleeping Space whose worker will be started in that way."""
    return sleeping_space(files, **({"environment": bare_environment()} if way == "forked" else {}))


class Worker:
    """A spy in a worker: `ask` evaluates an expression there, `do` runs statements there."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.worker = ensure(space)

    def ask(self, expression: str) -> object:
        """What the expression is there, or `Kind: message` of the exception."""
        return json.loads(fetch(self.worker, f"/?eval={quote(expression)}"))

    def do(self, statements: str) -> object:
        """What the variable `found` is after the statements, or the exception."""
        return json.loads(fetch(self.worker, f"/?exec={quote(statements)}"))

    @property
    def init(self) -> int:
        """The first process of its sandbox, as this machine numbers it."""
        return int(WorkerRow.objects.get(pk=self.worker.id).spawner_state["pid"])
