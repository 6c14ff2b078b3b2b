"""Sockets inside a worker's network namespace, for a process outside of it.

A socket stays in the namespace in which it was created. So the agent enters a worker's namespace for the few
microseconds that `socket(2)` takes, and whoever holds the socket can connect it to the worker's 127.0.0.1 from
anywhere. Root does this in its own thread; an ordinary user needs a process of its own, since joining the user
namespace that the network namespace belongs to is for single-threaded processes (`netns_helper.py`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from apps.sandbox.namespaces import entered

MAX_SOCKETS = 64
HELPER_SECONDS = 5
LISTED_BYTES = 64 * 1024
"""Of the kernel's list of sockets, which has those that listen first: some 430. A demo may have a million."""
_LISTEN = "0A"
_LOOPBACK_OR_ANY = {
    "0100007F",
    "00000000",
    "0" * 32,
    "0000000000000000FFFF00000100007F",
    "0000000000000000FFFF000000000000",
}
_HELPER = Path(__file__).with_name("netns_helper.py")


def open_namespace(pid: int) -> int:
    """Return a descriptor of the network namespace of process `pid`; it keeps the namespace alive until closed.

    Raises:
        OSError: the process is gone, or shares the caller's network namespace.
    """
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if os.fstat(namespace).st_ino == Path("/proc/self/ns/net").stat().st_ino:
        os.close(namespace)
        raise OSError(f"process {pid} has no network namespace of its own")
    return namespace


def open_sockets(namespace: int, count: int) -> list[socket.socket]:
    """Return `count` unconnected non-blocking TCP sockets that live in `namespace`.

    Raises:
        OSError: the namespace cannot be entered.
    """
    count = max(1, min(count, MAX_SOCKETS))
    if os.geteuid() == 0:
        return _open_here(namespace, count)
    return _open_in_helper(namespace, count)


def _open_here(namespace: int, count: int) -> list[socket.socket]:
    with entered(namespace):
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    for made in sockets:
        made.setblocking(False)
    return sockets


def _open_in_helper(namespace: int, count: int) -> list[socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(HELPER_SECONDS)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_HELPER), str(namespace), str(theirs.fileno()), str(count)],
            pass_fds=[namespace, theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={},
        )
        theirs.close()
        try:
            _, descriptors, _, _ = socket.recv_fds(ours, 16, count)
        finally:
            _, errors = process.communicate(timeout=HELPER_SECONDS)
    if not descriptors:
        raise OSError(errors.decode(errors="replace").strip().rpartition("\n")[2] or "the helper made no sockets")
    sockets = [socket.socket(fileno=fd) for fd in descriptors]
    for made in sockets:
        made.setblocking(False)
    return sockets


def listening_ports(pid: int) -> set[int]:
    """TCP ports that can be reached at 127.0.0.1 in the network namespace of process `pid`; empty when it is gone."""
    found: set[int] = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in _beginning(f"/proc/{pid}/net/{name}").splitlines()[1:]:
                fields = line.split()
                address, _, port = fields[1].rpartition(":")
                if fields[3] == _LISTEN and address in _LOOPBACK_OR_ANY:
                    found.add(int(port, 16))
    return found


def _beginning(path: str) -> str:
    """The whole lines among the first `LISTED_BYTES`. The kernel makes no more of the list than is read."""
    parts: list[bytes] = []
    size = 0
    with Path(path).open("rb", buffering=0) as file:
        while size < LISTED_BYTES and (part := file.read(4096)):
            parts.append(part)
            size += len(part)
    return b"".join(parts).decode().rpartition("\n")[0]
