"""The system calls that Python does not offer, for the programs of this folder. Standard library only: they run under
the interpreter of a Space's Environment, inside the zygote's sandbox."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
MOVE_MOUNT_F_EMPTY_PATH = 4
SYS_MOVE_MOUNT = 429
"""The same on every architecture, as for all calls since Linux 5.1."""
AT_FDCWD = -100
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 22, 24, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
SECCOMP_MODE_FILTER = 2
LINUX_CAPABILITY_VERSION_3 = 0x20080522
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _check(name: str, result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    _check("unshare", _libc.unshare(ctypes.c_int(flags)))


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _check(f"mount {target}", _libc.mount(*arguments))


def attach(tree: int, target: str) -> None:
    """Mount the detached tree of the descriptor `tree` (open_tree(2)) at `target`."""
    numbers = (ctypes.c_long(SYS_MOVE_MOUNT), ctypes.c_int(tree), b"", ctypes.c_int(AT_FDCWD), target.encode())
    _check(f"move_mount {target}", _libc.syscall(*numbers, ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH)))


def set_hostname(name: str) -> None:
    _check("sethostname", _libc.sethostname(name.encode(), len(name.encode())))


def loopback_up() -> None:
    """Bring up the loopback device of this network namespace."""
    import fcntl
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(s, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def prctl(option: int, *arguments: int) -> None:
    values = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)][:4]
    _check("prctl", _libc.prctl(ctypes.c_int(option), *values))


def drop_capabilities(last: int) -> None:
    """Give up every capability, for good."""
    for number in range(last + 1):
        prctl(PR_CAPBSET_DROP, number)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("Ii", LINUX_CAPABILITY_VERSION_3, 0)
    _check("capset", _libc.capset(header, bytes(24)))


def load_seccomp(program: bytes) -> None:
    """Hold this process and its children to a BPF program (seccomp(2)). Needs `no_new_privs`."""
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    described = Program(len(program) // 8, ctypes.cast(code, ctypes.c_void_p))
    _check("seccomp", _libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(described), 0, 0))


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor besides the standard ones and those of `keep`."""
    low = 3
    for descriptor in sorted(set(keep)):
        if descriptor >= low:
            os.closerange(low, descriptor)
            low = descriptor + 1
    os.closerange(low, 1 << 20)
