"""The agent's side of a birth: detached mounts, user maps, and who sent a message."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from pathlib import Path

SYS_OPEN_TREE = 428
AT_FDCWD = -100
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def detached(folder: Path) -> int:
    """A mount of `folder` that is attached nowhere yet (open_tree(2)), as a descriptor to hand to another process.

    Raises:
        OSError: not allowed, or no such folder.
    """
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
    numbers = (ctypes.c_long(SYS_OPEN_TREE), ctypes.c_int(AT_FDCWD), os.fsencode(folder), ctypes.c_uint(flags))
    descriptor = int(_libc.syscall(*numbers))
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"open_tree {folder}: {os.strerror(code)}")
    return descriptor


def inner_pid(pid: int) -> int:
    """The id that process `pid` has in the namespace next to this one.

    Raises:
        OSError: it has ended.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[2])
    raise ProcessLookupError(pid)


def received(channel: socket.socket, size: int = 65536) -> tuple[bytes, int]:
    """One message and its sender's process id, from a socket with SO_PASSCRED."""
    data, ancillary, _, _ = channel.recvmsg(size, socket.CMSG_SPACE(struct.calcsize("3i")))
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            return data, int(struct.unpack("3i", content[: struct.calcsize("3i")])[0])
    return data, 0
