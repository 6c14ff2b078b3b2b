"""An ordinary user of an ordinary machine: `python -m tests.ordinary TUN COMMAND...`, run by root.

In a mount namespace that nobody else sees, /dev/net/tun gets the mode TUN (octal), folders that are root's alone on the
way to this interpreter and these files can be passed, and then an account without any rights becomes COMMAND.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from apps.sandbox.egress.uplink import TUN
from apps.sandbox.launcher import MS_BIND, MS_REC, enter_namespaces, mount
from apps.sandbox.users import COUNT, FIRST

USER = FIRST + COUNT + 1
"""Nobody else is this user."""


def as_user(command: list[str], *, tun: str = "666") -> list[str]:
    return [sys.executable, "-m", "tests.ordinary", tun, *command]


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """All in `folder` is the ordinary user's for a while."""
    _give(folder, USER)
    try:
        yield
    finally:
        _give(folder, os.geteuid())
        # Of an agent that was killed: the next ordinary user's would use it again, root's has another.
        shutil.rmtree(folder / "run" / "scratch", ignore_errors=True)


def _give(folder: Path, user: int) -> None:
    for root, folders, files in os.walk(folder):
        for name in (".", *folders, *files):
            with contextlib.suppress(FileNotFoundError):  # a socket or journal that was just removed
                os.chown(Path(root, name), user, user, follow_symlinks=False)


def _open_way(path: Path) -> None:
    """Put, over each folder above `path` that only root may pass, one that everybody may, with the same folders."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            children = {child.name: os.open(child, os.O_PATH) for child in folder.iterdir() if child.is_dir()}
            mount("tmpfs", str(folder), "tmpfs", 0, "mode=0755")
            for name, there in children.items():
                (folder / name).mkdir()
                mount(f"/proc/self/fd/{there}", str(folder / name), "", MS_BIND | MS_REC)
                os.close(there)


def main(tun: str, command: list[str]) -> None:
    enter_namespaces(as_user=False)
    mount("tmpfs", "/dev/net", "tmpfs", 0, "mode=0755")
    os.mknod("/dev/net/tun", stat.S_IFCHR, TUN)
    Path("/dev/net/tun").chmod(int(tun, 8))
    for path in (sys.executable, os.path.realpath(sys.executable), __file__):
        _open_way(Path(path))
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
