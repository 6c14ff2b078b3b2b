"""The step between the agent and bubblewrap, run as a program of its own: `python -I -S launcher.py PLAN`.

In this order it joins the control groups, sets the limits of `setrlimit`, mounts the writable folders in a mount
namespace that only it and its children have, and becomes bubblewrap. It imports the standard library alone, and little
of it, since every start waits for it. PLAN is JSON without secrets, written by `launch.start`.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG = 1
OOM_SCORE = "500"
FAILED = 125

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    call("mount", source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())


def enter_namespaces() -> None:
    """A mount namespace whose mounts nobody else sees; for an ordinary user, a user namespace to be allowed to."""
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    else:
        call("unshare", CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_PRIVATE)


def mount_scratch(folder: str, size: int, overlay: str | None) -> None:
    """One tmpfs of `size` bytes for everything the process may write, and `overlay` made to look writable on it."""
    in_user_namespace = Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]
    options = f"size={size},nr_inodes={max(4096, size // 4096)},mode=0700"
    mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, options)
    os.chdir(folder)
    for name in ("tmp", "home", "shm", "lower", "upper", "work", "app"):
        Path(name).mkdir(mode=0o700 if name in {"tmp", "home", "shm", "work"} else 0o755)
    if overlay is not None:
        mount(overlay, "lower", "", MS_BIND)
        layers = "lowerdir=lower,upperdir=upper,workdir=work"
        try:
            mount(
                "overlay",
                "app",
                "overlay",
                MS_NOSUID | MS_NODEV,
                f"{layers},userxattr" if in_user_namespace else layers,
            )
        except OSError:
            # An older kernel: the files are there all the same, to be read only.
            mount("lower", "app", "", MS_BIND)
            mount("none", "app", "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    os.chdir("/")


def main(plan: dict[str, Any]) -> None:
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != plan["parent"]:
        sys.exit(FAILED)
    for path in plan["cgroup"]:
        Path(path).write_text("0")
    Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    if plan["scratch"]:
        enter_namespaces()
        mount_scratch(**plan["scratch"])
    for name, value in plan["rlimits"].items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, limit))
    os.execvp(plan["argv"][0], plan["argv"])  # noqa: S606


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except OSError as error:
        sys.stderr.write(f"The sandbox could not be made: {error}\n")
        sys.exit(FAILED)
