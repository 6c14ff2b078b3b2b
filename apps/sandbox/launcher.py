"""The step between the agent and bubblewrap, run as a program of its own: `python -I -S launcher.py PLAN`.

In this order it joins the control groups, mounts the writable folders in a mount namespace that only it and its
children have, sets the limits of `setrlimit`, becomes another user than root, and becomes bubblewrap. It imports the
standard library alone, and little of it, since every start waits for it. PLAN is JSON without secrets, written by
`launch.start`.
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

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
NS_GET_USERNS = 0xB701
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
SYS_MOVE_MOUNT, AT_FDCWD, MOVE_MOUNT_F_EMPTY_PATH = 429, -100, 4
PR_SET_PDEATHSIG = 1
CAPABILITY_VERSION_3 = 0x20080522
INOTIFY = {"max_inotify_instances": 8, "max_inotify_watches": 8192}
"""Of one worker. The kernel counts them for whoever made the user namespace too, and an account has 128 instances."""
OOM_SCORE = "500"
FAILED = 125

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    call("mount", source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())


def enter_namespaces(*, as_user: bool) -> None:
    """A mount namespace whose mounts nobody else sees; for an ordinary user, a user namespace to be allowed to."""
    if as_user:
        become_owner(CLONE_NEWNS)
        limit_inotify()
    else:
        call("unshare", CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_PRIVATE)


def become_owner(others: int = 0) -> None:
    """An ordinary user's way to rights: user 0 of a new user namespace, and of the new namespaces `others`."""
    uid, gid = os.geteuid(), os.getegid()
    call("unshare", CLONE_NEWUSER | others)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def attach(tree: int, target: str) -> None:
    """Mount the tree of the descriptor `tree`, which is attached nowhere yet, at `target`, and close it."""
    numbers = (ctypes.c_long(SYS_MOVE_MOUNT), ctypes.c_int(tree), b"", ctypes.c_int(AT_FDCWD), target.encode())
    call("syscall", *numbers, ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH))
    os.close(tree)


def mount_scratch(
    *, folder: str, size: int, overlay: str | None, owner: int, shown: list[str], data: int | None
) -> None:
    """One tmpfs of `size` bytes for everything the process may write, `overlay` made to look writable on it, by their
    number, the files and folders of `shown`, which the user that it becomes could not reach where they are, and the
    mount `data`."""
    in_user_namespace = Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]
    sources = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in shown]
    if overlay is not None:
        sources.append(os.open(overlay, os.O_PATH | os.O_CLOEXEC))
        overlay = f"/proc/self/fd/{sources[-1]}"
    options = f"size={size},nr_inodes={max(4096, size // 4096)},mode=0711"
    mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, options)
    os.chdir(folder)
    for name in ("tmp", "home", "shm", "lower", "upper", "work", "app"):
        Path(name).mkdir(mode=0o700 if name in {"tmp", "home", "shm", "work"} else 0o755)
        os.chown(name, owner, owner)
    if data is not None:
        Path("data").mkdir()
        attach(data, "data")
    Path("shown").mkdir(mode=0o711)
    for number, source in enumerate(sources[: len(shown)]):
        place = Path("shown", str(number))
        if Path(shown[number]).is_dir():
            place.mkdir()
        else:
            place.touch()
        mount(f"/proc/self/fd/{source}", str(place), "", MS_BIND | MS_REC)
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


def limit_inotify() -> None:
    """For all of this user namespace together, and those within it."""
    for name, value in INOTIFY.items():
        path = Path("/proc/sys/user", name)
        if path.exists():
            path.write_text(str(value))


def be_owner(user: int) -> None:
    """Make user namespaces as `user`, so that what is used in them (inotify above all) is counted for that user and not
    for root, whose own services would be left without. Capabilities are kept until then."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    call("capget", header, sets)
    os.setegid(user)
    os.seteuid(user)
    call("capset", header, sets)


def become_user(first: int, count: int) -> None:
    """Become user 0 of a user namespace in which `count` users from `first` on are the users from 0 on."""
    entered = os.pipe()
    parent = os.getpid()
    helper = os.fork()
    if helper == 0:
        status = 1
        try:
            os.read(entered[0], 1)
            for name in ("gid_map", "uid_map"):
                Path(f"/proc/{parent}/{name}").write_text(f"0 {first} {count}")
            status = 0
        finally:
            os._exit(status)
    be_owner(first)
    call("unshare", CLONE_NEWUSER)
    os.write(entered[1], b"x")
    if os.waitpid(helper, 0)[1] != 0:
        raise OSError(0, "the user namespace could not be mapped")
    for descriptor in entered:
        os.close(descriptor)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    if count == 1:
        limit_inotify()


def end_with_parent(parent: int) -> None:
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(FAILED)


def main(plan: dict[str, Any]) -> None:
    end_with_parent(plan["parent"])
    as_user = os.geteuid() != 0
    for path in plan["cgroup"]:
        Path(path).write_text("0")
    Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    if plan["within"] is not None:
        call("setns", plan["within"], CLONE_NEWUSER)
        os.close(plan["within"])
        end_with_parent(plan["parent"])  # forgotten by the kernel when the rights changed
    if plan["scratch"]:
        enter_namespaces(as_user=as_user)
        mount_scratch(**plan["scratch"])
    for name, value in plan["rlimits"].items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, limit))
    if plan["users"]:
        become_user(*plan["users"])
        end_with_parent(plan["parent"])  # forgotten by the kernel when the user changed
    os.execvp(plan["argv"][0], plan["argv"])  # noqa: S606


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except OSError as error:
        sys.stderr.write(f"The sandbox could not be made: {error}\n")
        sys.exit(FAILED)
