"""Between the agent and pasta(1), a program: `python -I -S uplink.py PARENT CHANNEL NAMESPACE USER COMMAND...`.

It becomes USER, who may nothing, in a user namespace of its own; an ordinary user stays who he is, in one of his. It
makes the router's network namespace there and sends descriptors of it and of its list of routes over the socket
CHANNEL; or, if there is a router already, it joins the user namespace of the one whose descriptor is NAMESPACE (-1:
none). Then it becomes COMMAND, in which `{namespace}` is replaced by the namespace's path: pasta stays on the host's
side and has rights over that namespace alone. It ends with the agent.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from apps.sandbox.launcher import (
    CLONE_NEWNET,
    MS_NOSUID,
    NS_GET_USERNS,
    become_owner,
    become_user,
    call,
    end_with_parent,
    enter_namespaces,
    mount,
)

TUN = os.makedev(10, 200)


def own_tun() -> None:
    """A /dev/net/tun that an ordinary user may open: on some machines only root may."""
    enter_namespaces(as_user=False)
    mount("tmpfs", "/dev/net", "tmpfs", MS_NOSUID, "mode=0755,size=4096")
    os.mknod("/dev/net/tun", 0o666 | stat.S_IFCHR, TUN)
    Path("/dev/net/tun").chmod(0o666)


def new_namespace() -> list[int]:
    """A network namespace that belongs to this process's user namespace, and its list of routes, which can be read
    from outside. This process stays where it is."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            call("unshare", CLONE_NEWNET)
            paths = ("/proc/self/ns/net", "/proc/self/net/route")
            socket.send_fds(theirs, [b"x"], [os.open(path, os.O_RDONLY) for path in paths])
        finally:
            os._exit(0)
    theirs.close()
    _, descriptors, _, _ = socket.recv_fds(ours, 1, 2)
    os.waitpid(child, 0)
    return descriptors


def join_owner(namespace: int) -> None:
    """Enter the user namespace that a network namespace belongs to, as its user 0."""
    call("setns", fcntl.ioctl(namespace, NS_GET_USERNS), 0)
    if os.geteuid() != 0:  # root, who is nobody there
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def main(parent: int, channel: int, namespace: int, user: int, command: list[str]) -> None:
    end_with_parent(parent)
    as_user = os.geteuid() != 0
    if not as_user:
        own_tun()
    if namespace < 0:
        if as_user:
            become_owner()
        else:
            become_user(user, 1)
        namespace, routes = new_namespace()
        socket.send_fds(socket.socket(fileno=channel), [b"x"], [namespace, routes])
        os.close(routes)
    else:
        join_owner(namespace)
    end_with_parent(parent)  # forgotten by the kernel when the user changed
    os.set_inheritable(namespace, True)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # pasta refuses to start where it is ignored
    os.execv(command[0], [word.format(namespace=f"/proc/self/fd/{namespace}") for word in command])  # noqa: S606


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
    except OSError as error:
        sys.exit(f"the uplink could not be made: {error}")
