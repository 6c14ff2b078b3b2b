"""What is done inside of a router's network namespace: its rules, and a worker's link.

Root enters it for a moment, in its own thread. An ordinary user has rights there only in a process that joins the user
namespace which the router belongs to: the same functions then run in a program, `python -I -S links.py`, which reads
JSON of a function's name and arguments. Workers' user namespaces lie within that one, so it has rights over them too.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from apps.sandbox.egress import netlink, rules
from apps.sandbox.launcher import CLONE_NEWNET, NS_GET_USERNS, call
from apps.sandbox.namespaces import entered

MTU = 65520
DEVICE = "eth0"
PROGRAM_SECONDS = 10


def carry_out(action: Callable[..., None], router: int, *arguments: int | str, passed: Sequence[int] = ()) -> None:
    """Call `action(router, *arguments)`, a function of this module. Root's links take a millisecond, an ordinary user's
    the start of a program.

    Args:
        router: a descriptor of its network namespace.
        passed: the descriptors among the arguments.

    Raises:
        OSError: it cannot be done.
    """
    if os.geteuid() == 0:
        action(router, *arguments)
        return
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", __file__],
            input=json.dumps([action.__name__, router, *arguments]),
            pass_fds=(router, *passed),
            capture_output=True,
            text=True,
            check=False,
            timeout=PROGRAM_SECONDS,
            env={},
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"it took more than {PROGRAM_SECONDS} s") from None
    if done.returncode != 0:
        raise OSError(done.stderr.strip().rpartition("\n")[2] or f"status {done.returncode}")


def set_up(router: int, table: str) -> None:
    """Make it forward by the rules `table` alone."""
    with entered(router):
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        rules.load(table)


def load(router: int, changes: str) -> None:
    with entered(router):
        rules.load(changes)


def join(router: int, worker: int, name: str, near: str, far: str) -> None:
    """Lead a worker's network namespace, a descriptor, to the router: device `name` and address `near` there, `far` at
    the worker."""
    with entered(router):
        channel = netlink.open_channel()
    with channel:
        try:
            netlink.add_pair(channel, name, worker, DEVICE, MTU)
            with entered(router):
                index = socket.if_nametoindex(name)
            netlink.add_address(channel, index, socket.inet_aton(near), 31)
            netlink.bring_up(channel, index)
            with entered(worker):
                inside = netlink.open_channel()
                index = socket.if_nametoindex(DEVICE)
            with inside:
                netlink.add_address(inside, index, socket.inet_aton(far), 31)
                netlink.bring_up(inside, index)
                netlink.add_default_route(inside, socket.inet_aton(near))
        except OSError:
            with contextlib.suppress(OSError):
                netlink.remove(channel, name)
            raise


def cut(router: int, name: str) -> None:
    with entered(router):
        channel = netlink.open_channel()
    with channel:
        netlink.remove(channel, name)


def give_namespace(router: int, channel: int) -> None:
    """Send a descriptor of a new network namespace over a unix socket, in which it then is. For a program alone."""
    call("unshare", CLONE_NEWNET)
    with socket.socket(fileno=channel) as sender, Path("/proc/self/ns/net").open("rb") as made:
        socket.send_fds(sender, [b"x"], [made.fileno()])


def main(action: str, router: int, *arguments: int | str) -> None:
    """From here on this process is in the router's namespace, and returns to that one from a worker's."""
    call("setns", fcntl.ioctl(router, NS_GET_USERNS), 0)
    call("setns", router, CLONE_NEWNET)
    actions: dict[str, Callable[..., None]] = {f.__name__: f for f in (set_up, load, join, cut, give_namespace)}
    actions[action](router, *arguments)


if __name__ == "__main__":
    try:
        main(*json.load(sys.stdin))
    except OSError as error:
        sys.exit(str(error))
