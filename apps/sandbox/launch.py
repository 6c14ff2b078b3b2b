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

from apps.sandbox import bubblewrap
from apps.sandbox.bubblewrap import Sandbox
from apps.sandbox.cgroups import Cgroup, Limits
from apps.sandbox.rlimits import rlimits_for

_LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True)
class Scratch:
    """The writable folders of a process, all on one tmpfs of bounded size: `/tmp`, home, `/dev/shm` and, when
    `overlay` is given, that folder at `/app`, which then looks writable while the original stays as it is.

    Attributes:
        mount_point: an empty folder on the host; several processes may use the same one at once, since each mounts
            over it in a mount namespace of its own.
        bytes: for all of it together.
        overlay: a folder on the host.
    """

    mount_point: Path
    bytes: int
    overlay: Path | None = None

    def mounts(self) -> tuple[tuple[Path, str], ...]:
        targets = {"tmp": "/tmp", "home": bubblewrap.HOME, "shm": "/dev/shm"}  # noqa: S108 paths inside the sandbox
        if self.overlay is not None:
            targets["app"] = bubblewrap.APP
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

    Raises:
        OSError: Python could not be started.
    """
    if scratch is not None:
        sandbox = replace(sandbox, writable=(*scratch.mounts(), *sandbox.writable))
    arguments_fd = os.memfd_create("bubblewrap-arguments")
    try:
        os.write(arguments_fd, b"".join(os.fsencode(a) + b"\0" for a in sandbox.arguments()))
        os.lseek(arguments_fd, 0, os.SEEK_SET)
        info = [] if info_fd is None else ["--info-fd", str(info_fd)]
        plan = {
            "parent": os.getpid(),
            "cgroup": [str(path) for path in cgroup.procs_files] if cgroup else [],
            "rlimits": rlimits_for(limits, cgroup),
            "scratch": scratch
            and {
                "folder": str(scratch.mount_point),
                "size": scratch.bytes,
                "overlay": scratch.overlay and str(scratch.overlay),
            },
            "argv": [
                shutil.which(bubblewrap.PROGRAM) or bubblewrap.PROGRAM,
                "--args",
                str(arguments_fd),
                *info,
                "--",
                *command,
            ],
        }
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(plan)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=[arguments_fd] if info_fd is None else [arguments_fd, info_fd],
            env={},
            cwd="/",
            umask=0o022,
        )
    finally:
        os.close(arguments_fd)
