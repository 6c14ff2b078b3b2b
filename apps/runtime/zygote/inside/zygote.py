"""A process with an Environment's heavy libraries imported, forked once for each worker: `zygote.py CONTROL`.

Talks to the agent over the sequenced-packet socket CONTROL:

- it is told what to import, how large it may become by that, and what its children do to their /proc:
  `{"preload": [name], "bytes": n, "proc": {...}}`;
- its first message says what it imported: `{"imported": {name: [seconds, bytes]}, "skipped": {name: why}, ...}`;
- a message of the agent is a birth: descriptors alone, the birth's own socket and those of its control groups. The
  zygote forks and closes its copies. All else is between the agent and the child (see `child.py`): a plan with a
  Space's secrets in it never comes through here.

The child enters its own namespaces and loses its rights before a line of the demo's code runs, and then runs it as
`python app.py` would.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import socket
import sys
import threading
import time
from typing import Any

import immortal
import main_module
import tokens
import warm

SANDBOX = "/opt/portico/sandbox"
MAX_DESCRIPTORS = 12
SETTLE_SECONDS = 0.2


def preload(names: list[str], most_bytes: int) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Import what is there, until this process has `most_bytes`. What fails to import is left to the app, which will
    fail the same way, or not ask. Returns seconds and bytes by name, and why others were skipped."""
    imported: dict[str, list[float]] = {}
    skipped: dict[str, str] = {}
    for name in names:
        began, before = time.perf_counter(), resident_bytes()
        if before > most_bytes:
            skipped[name] = "the zygote is large enough"
            continue
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name.partition(".")[0]:
                skipped[name] = repr(error)
        except BaseException as error:  # a library may do anything while it is imported
            skipped[name] = repr(error)
        else:
            imported[name] = [round(time.perf_counter() - began, 3), resident_bytes() - before]
    return imported, skipped


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def threads() -> int:
    """Threads of this process, native ones included."""
    return len(os.listdir("/proc/self/task"))


def left_open(control: socket.socket) -> list[str]:
    """What libraries opened while they were imported and hold still: a child closes every descriptor."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != control.fileno():
            with contextlib.suppress(FileNotFoundError):  # that of the listing itself
                found.append(os.readlink(f"/proc/self/fd/{name}"))
    return found


def main(control: socket.socket, plan: dict[str, Any]) -> None:
    sys.path.insert(0, SANDBOX)
    import child

    sys.path.remove(SANDBOX)
    stop_watching = tokens.watch()
    imported, skipped = preload(plan["preload"], plan["bytes"])
    warmed = warm.up()
    stop_watching()
    main_module.note_own_modules()
    gc.collect()
    immortal_objects = immortal.everything() if immortal.is_possible() else 0
    gc.freeze()
    # Libraries that are made to be forked (OpenBLAS) end their threads before a fork and start them again when needed.
    probe = os.fork()
    if probe == 0:
        os._exit(0)
    os.waitpid(probe, 0)
    deadline = time.monotonic() + SETTLE_SECONDS
    while threads() > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    told = {
        "imported": imported,
        "skipped": skipped,
        "warmed": warmed,
        "bytes": resident_bytes(),
        "immortal_objects": immortal_objects,
        "threads": threading.active_count(),
        "native_threads": threads(),
        "left_open": left_open(control),
    }
    control.send(json.dumps(told).encode())
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 64, MAX_DESCRIPTORS)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            child.born(descriptors, plan["proc"])
            return
        for descriptor in descriptors:
            os.close(descriptor)
        reap()


def reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    main(control, json.loads(control.recv(65536)))
