"""Demos that go on when they are told to end, for a `spy.Worker` to do, and how to find what is left of them."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path

from tests.security.spy import SPY

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SPY
DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.dup2(os.open("/dev/null", os.O_RDWR), 1)
        os.execv("/bin/sleep", ["sleep", "{seconds}"])
    os._exit(0)
found = os.wait()[1]
"""
BURN = """
for _ in range(os.cpu_count() + 1):
    if os.fork() == 0:
        os.dup2(os.open("/dev/null", os.O_RDWR), 1)
        while True: pass
found = "burning"
"""
_seconds = itertools.count(700_000 + os.getpid() * 10)


def new_seconds() -> int:
    """For one `DAEMON`, to be told by from every other."""
    return next(_seconds)


def sleepers(seconds: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cmdline").read_bytes() == b"sleep\0%d\0" % seconds:
                found.append(int(entry.name))
    return found


def processes_of(namespace: str) -> list[int]:
    """The processes of a pid namespace, as its link in /proc names it. A zombie runs no more."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            is_within = entry.name.isdigit() and str((entry / "ns" / "pid").readlink()) == namespace
            if is_within and ") Z " not in (entry / "stat").read_text():
                found.append(int(entry.name))
    return found
