"""`python -I -S sockets_helper.py NAMESPACE CHANNEL FAMILY KIND COUNT`: joins the network namespace of a descriptor,
through the user namespace that owns it, and sends COUNT sockets made there over a unix socket."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import sys

NS_GET_USERNS = 0xB701

namespace, channel, family, kind, count = map(int, sys.argv[1:])
libc = ctypes.CDLL(None, use_errno=True)
for descriptor in (fcntl.ioctl(namespace, NS_GET_USERNS), namespace):
    if libc.setns(descriptor, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
sockets = [socket.socket(family, kind) for _ in range(count)]
socket.send_fds(socket.socket(fileno=channel), [b"ok"], [s.fileno() for s in sockets])
