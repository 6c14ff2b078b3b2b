"""Starts a command in a sandbox, under limits. `start` is all that builds and workers need."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from apps.sandbox import bubblewrap, seccomp
from apps.sandbox.bubblewrap import Sandbox
from apps.sandbox.cgroups import Cgroup, Limits
from apps.sandbox.rlimits import rlimits_for

_LAUNCHER = Path(__file__).with_name("launcher.py")
INSIDE = Path(__file__).with_name("inside"), "/opt/portico/sandbox"
"""Programs that run inside of a sandbox: where they are on the host, and inside."""


@dataclass(frozen=True)
class Scratch:
    """The writable folders of a process, all on one tmpfs of bounded size: `/tmp`, home, `/dev/shm` and, when
    `overlay` is given, that folder at `/app`, which then looks writable while the original stays as it is.

    Attributes:
        mount_point: an empty folder on the host; several processes may use the same one at once, since each mounts
            over it in a mount namespace of its own.
        bytes: for all of it together.
        overlay: a folder on the host.
        data: a mount attached nowhere (`apps.sandbox.volumes`), for `/data`; not counted in `bytes`.
    """

    mount_point: Path
    bytes: int
    overlay: Path | None = None
    data: int | None = None

    def mounts(self) -> tuple[tuple[Path, str], ...]:
        targets = {"tmp": "/tmp", "home": bubblewrap.HOME, "shm": "/dev/shm"}  # noqa: S108 paths inside the sandbox
        if self.overlay is not None:
            targets["app"] = bubblewrap.APP
        if self.data is not None:
            targets["data"] = bubblewrap.DATA
        return tuple((self.mount_point / name, target) for name, target in targets.items())


def start(
    sandbox: Sandbox,
    command: Sequence[str],
    *,
    limits: Limits,
    cgroup: Cgroup | None = None,
    scratch: Scratch | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    info_fd: int | None = None,
    block_fd: int | None = None,
    users: tuple[int, int] | None = None,
    within: int | None = None,
    pass_fds: Sequence[int] = (),
    python: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` in `sandbox` and return at once.

    The process returned is bubblewrap's outer one: it ends with the command's exit status (128 + n for signal n), and
    killing it kills everything inside. So does the end of the thread that called this. Standard input is empty.

    Args:
        limits: enforced by `cgroup`, by rlimits as far as they go where there is none.
        cgroup: joined before anything of the command runs.
        scratch: writable folders under one limit; without it each is a tmpfs of `sandbox.scratch_bytes`.
        stdout, stderr: as for `subprocess.Popen`.
        info_fd: bubblewrap writes JSON with `child-pid` here, the first process inside as the host numbers it.
        block_fd: the command waits until something can be read here.
        users: first id and number of the host's users that the sandbox may consist of; the command is the first of
            them. For root alone, and only with `scratch`. Without it the sandbox is of the caller's own user.
        within: a user namespace, by a descriptor, of the caller's own in which the sandbox's is made. For ordinary
            users alone, and only with `scratch`.
        pass_fds: descriptors that the command gets besides the standard ones.
        python: an interpreter inside, by which the command is held by Landlock too (`inside/landlock.py`), where the
            kernel has it. For commands that mount nothing.

    Raises:
        OSError: Python could not be started.
    """
    shown: list[str] = []
    given = list(pass_fds)
    if scratch is not None:
        sandbox = replace(sandbox, writable=(*scratch.mounts(), *sandbox.writable))
    if python is not None:
        given.append(in_memory("environment", json.dumps(dict(sandbox.environment)).encode()))
        writable = list(dict.fromkeys((*bubblewrap.SCRATCH, *(target for _, target in sandbox.writable))))
        program = (str(python), "-I", "-S", f"{INSIDE[1]}/landlock.py")
        command = (*program, str(given[-1]), json.dumps(writable), *command)
        sandbox = replace(sandbox, environment={}, read_only=(*sandbox.read_only, INSIDE))
    if users is not None:
        assert scratch is not None
        shown = [str(sandbox.etc), *(str(source) for source, _ in sandbox.read_only)]
        places = [scratch.mount_point / "shown" / str(number) for number in range(len(shown))]
        targets = (target for _, target in sandbox.read_only)
        sandbox = replace(sandbox, etc=places[0], read_only=tuple(zip(places[1:], targets, strict=True)))
    arguments_fd = in_memory("bubblewrap-arguments", b"".join(os.fsencode(a) + b"\0" for a in sandbox.arguments()))
    given.append(arguments_fd)
    data = scratch.data if scratch else None
    if data is not None:
        given.append(data)
    options = ["--args", str(arguments_fd)]
    if info_fd is not None:
        given.append(info_fd)
        options += ["--info-fd", str(info_fd)]
    if within is not None:
        assert scratch is not None
        given.append(within)
    if block_fd is not None:
        given.append(block_fd)
        options += ["--block-fd", str(block_fd)]
    try:
        rules = seccomp.program(for_zygote=sandbox.for_zygote)
        if rules is not None:
            given.append(in_memory("seccomp", rules))
            options += ["--seccomp", str(given[-1])]
        plan = {
            "parent": os.getpid(),
            "cgroup": [str(path) for path in cgroup.procs_files] if cgroup else [],
            "rlimits": rlimits_for(limits, cgroup),
            "scratch": scratch
            and {
                "folder": str(scratch.mount_point),
                "size": scratch.bytes,
                "overlay": scratch.overlay and str(scratch.overlay),
                "owner": users[0] if users else 0,  # root, or who made the user namespace that it is in by then
                "shown": shown,
                "data": data,
            },
            "users": users,
            "within": within,
            "argv": [shutil.which(bubblewrap.PROGRAM) or bubblewrap.PROGRAM, *options, "--", *command],
        }
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(plan)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=given,
            env={},
            cwd="/",
            umask=0o022,
        )
    finally:
        for descriptor in given:
            if descriptor not in (*pass_fds, info_fd, block_fd, within, data):
                os.close(descriptor)


def in_memory(name: str, data: bytes) -> int:
    """A descriptor of `data`, at its beginning."""
    descriptor = os.memfd_create(name)
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
