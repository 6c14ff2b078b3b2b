"""Entering another network namespace for a moment: a socket stays in the namespace in which it was made, and a
program in the one in which it was started."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def entered(namespace: int) -> Iterator[None]:
    """Have this thread be in the network namespace of the descriptor `namespace`. For root; nothing may be awaited
    inside.

    Raises:
        OSError: it cannot be entered.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(namespace)
        try:
            yield
        finally:
            try:
                _setns(home)
            except OSError:
                # A thread left in a stranger's network must not go on.
                os._exit(70)
    finally:
        os.close(home)


def _setns(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")
