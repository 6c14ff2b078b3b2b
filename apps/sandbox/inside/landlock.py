"""Landlock: a process gives up, for itself and its children, to write anywhere but in a few folders (landlock(7)).

The second wall behind mounts, users and capabilities: it holds on when one of them has a hole. Standard library only,
since it runs inside the sandbox, under the interpreter of a Space. As a program, `landlock.py ENVIRONMENT FOLDERS
COMMAND...` becomes COMMAND; ENVIRONMENT is a descriptor with the command's whole environment as JSON, which therefore
says nothing to the dynamic linker or to the interpreter before the wall stands. FOLDERS is JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""The same on every architecture."""
GET_VERSION = 1
PATH_BENEATH = 1
PR_SET_NO_NEW_PRIVS = 38
OLDEST = 2
"""Version 1 (Linux 5.13) cannot permit to rename a file from one folder into another, which programs need."""

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
VERSION_1 = (1 << 13) - 1
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
SINCE = ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEV))
ABSTRACT_SOCKETS_AND_SIGNALS = 0b11
"""Scopes of version 6: neither reaches a process that is not held by the same rules, so not even pid 1."""
NO_LOG = 0b101
"""Flags of version 7: what is refused, also by rules that the command adds, is not written to the machine's audit log,
or a demo could flood it."""
LOOK = EXECUTE | READ_FILE | READ_DIR
DEVICES = LOOK | WRITE_FILE | TRUNCATE | IOCTL_DEV

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def version() -> int:
    """The kernel's version of Landlock; 0 when it has none or it was not enabled at boot."""
    return max(
        0, int(libc.syscall(ctypes.c_long(CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint(GET_VERSION)))
    )


def restrict(writable: Iterable[str]) -> int:
    """Hold this thread and its future children to reading and executing everywhere, and to changing files below
    `writable` alone; devices of /dev and files of /proc may be written as far as they could be before. Of the folders,
    those that are not there are left out. Gives up gaining privileges too.

    Returns:
        The version of Landlock that is used, 0 when there is none that could be.

    Raises:
        OSError: the kernel refused.
    """
    there = version()
    if there < OLDEST:
        return 0
    handled = VERSION_1 | sum(right for since, right in SINCE if there >= since)
    sizes = [(1, handled), (4, 0), (6, ABSTRACT_SOCKETS_AND_SIGNALS)]
    attributes = b"".join(struct.pack("Q", value) for since, value in sizes if there >= since)
    rules = _call("landlock_create_ruleset", CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        places = {"/": LOOK, "/dev": DEVICES, "/proc": LOOK | WRITE_FILE | TRUNCATE}
        places |= dict.fromkeys(writable, handled & ~(MAKE_CHAR | MAKE_BLOCK))
        for path, rights in places.items():
            try:
                folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                rule = struct.pack("=Qi", rights & handled, folder)
                _call("landlock_add_rule", ADD_RULE, rules, PATH_BENEATH, rule, 0)
            finally:
                os.close(folder)
        if libc.prctl(PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))) != 0:
            raise OSError(ctypes.get_errno(), "no_new_privs")
        _call("landlock_restrict_self", RESTRICT_SELF, rules, ctypes.c_uint(NO_LOG if there >= 7 else 0))
    finally:
        os.close(rules)
    return there


def _call(name: str, number: int, *arguments: object) -> int:
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def main(environment: int, writable: list[str], command: list[str]) -> None:
    with open(environment, "rb") as file:
        variables = json.load(file)
    restrict(writable)
    os.execvpe(command[0], command, variables)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:])
