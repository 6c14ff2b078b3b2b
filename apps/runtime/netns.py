"""Sockets inside a worker's network namespace, for a process outside of it.

A socket stays in the namespace in which it was created. So the agent enters a worker's namespace for the few
microseconds that `socket(2)` takes, and whoever holds the socket can connect it to the worker's 127.0.0.1 from
anywhere (`apps/sandbox/namespaces.py`).
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from apps.sandbox.namespaces import sockets_inside

MAX_SOCKETS = 64
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
    return sockets_inside(namespace, max(1, min(count, MAX_SOCKETS)))


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
