"""Entering another network namespace for a moment: a socket stays in the namespace in which it was made, and a
program in the one in which it was started.

Root does this in its own thread; an ordinary user needs a process of its own, since joining the user namespace that the
network namespace belongs to is for single-threaded processes (`sockets_helper.py`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from apps.sandbox.launcher import CLONE_NEWNET, call

HELPER_SECONDS = 5
_HELPER = Path(__file__).with_name("sockets_helper.py")


@contextlib.contextmanager
def entered(namespace: int) -> Iterator[None]:
    """Have this thread be in the network namespace of the descriptor `namespace`. For those who may enter it and return
    to the one that they are in, as root; nothing may be awaited inside.

    Raises:
        OSError: it cannot be entered.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        call("setns", namespace, CLONE_NEWNET)
        try:
            yield
        finally:
            try:
                call("setns", home, CLONE_NEWNET)
            except OSError:
                # A thread left in a stranger's network must not go on.
                os._exit(70)
    finally:
        os.close(home)


def sockets_inside(
    namespace: int,
    count: int = 1,
    family: socket.AddressFamily = socket.AF_INET,
    kind: socket.SocketKind = socket.SOCK_STREAM,
) -> list[socket.socket]:
    """Return `count` unconnected non-blocking sockets that live in `namespace`: of the caller's own, or for root any.

    Raises:
        OSError: the namespace cannot be entered.
    """
    if os.geteuid() == 0:
        with entered(namespace):
            sockets = [socket.socket(family, kind) for _ in range(count)]
    else:
        sockets = _made_by_helper(namespace, count, family, kind)
    for made in sockets:
        made.setblocking(False)
    return sockets


def _made_by_helper(
    namespace: int, count: int, family: socket.AddressFamily, kind: socket.SocketKind
) -> list[socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(HELPER_SECONDS)
        numbers = (namespace, theirs.fileno(), int(family), int(kind), count)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_HELPER), *map(str, numbers)],
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
    return [socket.socket(fileno=descriptor) for descriptor in descriptors]
