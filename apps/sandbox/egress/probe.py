"""Egress tried for real: a router as the agent makes one, and a namespace linked to it as a worker's is."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from dataclasses import dataclass

from apps.sandbox.egress import links, rules
from apps.sandbox.egress.router import NoEgress, Router
from apps.sandbox.launcher import CLONE_NEWNET
from apps.sandbox.namespaces import sockets_inside

ANSWER_SECONDS = 2.0
_QUERY = b"\x70\x6f\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01"
"""The name servers of the root, a question that every resolver can answer (RFC 1035)."""


@dataclass(frozen=True)
class Findings:
    """What a worker of this machine could do.

    Attributes:
        why_none: why it could reach nothing; empty if there is a way to the world.
        reached: addresses of this machine that it could reach, and must not.
        names: whether a resolver answers it.
    """

    why_none: str
    reached: tuple[str, ...] = ()
    names: bool = False


def try_egress() -> Findings:
    """Make a router, look around in it, and take it away. Takes a second, up to `ANSWER_SECONDS` more without names."""
    return asyncio.run(_try())


async def _try() -> Findings:
    router = Router()
    try:
        await router.start()
        worker = new_namespace() if os.geteuid() == 0 else await asyncio.to_thread(namespace_within, router.namespace)
        try:
            await router.connect(worker)
            addresses = await asyncio.to_thread(rules.addresses_of_host)
            reached = await asyncio.to_thread(lambda: [a for a in sorted(addresses) if _reaches(worker, a)])
            return Findings("", tuple(reached), await asyncio.to_thread(_names_resolve, worker))
        finally:
            os.close(worker)
    except (NoEgress, OSError) as error:
        return Findings(str(error))
    finally:
        await router.end()


def new_namespace() -> int:
    """A descriptor of a network namespace that nothing else holds. For root."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "no network namespace could be made")
        made = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if libc.setns(home, CLONE_NEWNET) != 0:
            os._exit(70)  # a thread left in a stranger's network must not go on
        return made
    finally:
        os.close(home)


def namespace_within(router: int) -> int:
    """One of an ordinary user, in the user namespace of his router."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        links.carry_out(links.give_namespace, router, theirs.fileno(), passed=(theirs.fileno(),))
        return socket.recv_fds(ours, 1, 1)[1][0]


def _reaches(namespace: int, address: str) -> bool:
    """Whether a listener of this machine at `address` can be reached from a namespace. Its own loopback is another."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        try:
            listener.bind((address, 0))
        except OSError:
            return False  # a link-local address needs its device
        listener.listen()
        (caller,) = sockets_inside(namespace, family=family)
        with caller:
            caller.settimeout(ANSWER_SECONDS)
            try:
                caller.connect(listener.getsockname()[:2])
            except OSError:
                return False
            return True


def _names_resolve(namespace: int) -> bool:
    (asking,) = sockets_inside(namespace, kind=socket.SOCK_DGRAM)
    with asking:
        asking.settimeout(ANSWER_SECONDS)
        try:
            asking.sendto(_QUERY, (rules.DNS, 53))
            return asking.recv(4096)[:2] == _QUERY[:2]
        except OSError:
            return False
