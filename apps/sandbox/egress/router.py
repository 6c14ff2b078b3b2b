"""A node's router: a network namespace between its workers and the world.

    worker's namespace --veth--> router's namespace (nftables) --up0, a tun--> pasta --ordinary sockets--> the world

It is held by descriptors alone, and pasta ends with the agent: a killed agent leaves nothing. Neither a route nor a
rule nor a setting of the host is changed. Where the agent is an ordinary user, router and workers lie in a user
namespace of his, in which a process of his may lead one to the other (`links.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from apps.sandbox.egress import links, netlink, rules
from apps.sandbox.launcher import NS_GET_USERNS
from apps.sandbox.users import COUNT, FIRST

USER = FIRST + COUNT
"""Whom root's pasta runs as: nobody else is this user."""
ADDRESS, GATEWAY, NETMASK = "100.127.255.2", "100.127.255.1", "255.255.255.248"
"""Of the uplink, inside the router."""
FIRST_WORKER = int(ipaddress.IPv4Address("100.64.0.0"))
MOST_WORKERS = 2**20
"""Two addresses for each, from 100.64.0.0 to 100.95.255.255, of what RFC 6598 keeps off the internet."""
TUN = Path("/dev/net/tun")
TUN_REMEDY = "make it 666 (`chmod 666 /dev/net/tun`, and a rule of udev to keep it so), or run the agent as root"
UPLINK_SECONDS = 5.0
_PROGRAM = Path(__file__).with_name("uplink.py")


class NoEgress(Exception):
    """A worker cannot reach the world; the text says why, and what an operator can do about it."""


@dataclass(frozen=True)
class Link:
    """One worker's way to the router, number `number` of it."""

    number: int

    @property
    def name(self) -> str:
        return f"{rules.WORKERS}{self.number}"

    @property
    def addresses(self) -> tuple[str, str]:
        """The router's and the worker's."""
        first = ipaddress.IPv4Address(FIRST_WORKER + 2 * self.number)
        return str(first), str(first + 1)


class Router:
    """Made by `start`. Its methods belong to the event loop's thread, which pasta ends with.

    Attributes:
        namespace: a descriptor of its network namespace, -1 before `start`.
        within: a descriptor of the user namespace in which an ordinary user's workers must be made for links; None for
            root.
    """

    def __init__(self) -> None:
        self.namespace = -1
        self.within: int | None = None
        self._routes = -1
        self._uplink: subprocess.Popen[bytes] | None = None
        self._changes: socket.socket | None = None
        self._host: set[str] = set()
        self._links: set[int] = set()
        self._next = 0

    async def start(self) -> None:
        """Make it and wait until the world can be reached through it.

        Raises:
            NoEgress: this machine cannot.
        """
        try:
            await self._start_uplink()
            await self._do(links.set_up, rules.for_router())
            self._follow_host()
        except OSError as error:
            await self.end()
            raise NoEgress(str(error)) from error
        except BaseException:
            await self.end()
            raise

    async def _do(self, action: Callable[..., None], *arguments: int | str, passed: tuple[int, ...] = ()) -> None:
        if os.geteuid() == 0:
            links.carry_out(action, self.namespace, *arguments)
        else:
            await asyncio.to_thread(links.carry_out, action, self.namespace, *arguments, passed=passed)

    async def _start_uplink(self) -> None:
        if os.geteuid() != 0:
            _see_to_tun()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            self._uplink = uplink = self._launch_uplink(theirs)
            theirs.close()
            assert uplink.stderr is not None
            with uplink.stderr as said:
                os.set_blocking(said.fileno(), False)
                try:
                    async with asyncio.timeout(UPLINK_SECONDS):
                        if self.namespace < 0:
                            await _readable(ours)
                            _, descriptors, _, _ = socket.recv_fds(ours, 1, 2)
                            if descriptors:
                                self.namespace, self._routes = descriptors
                                if os.geteuid() != 0:
                                    self.within = fcntl.ioctl(self.namespace, NS_GET_USERNS)
                        # Nobody tells when pasta is ready.
                        while uplink.poll() is None and not self._has_route():  # noqa: ASYNC110
                            await asyncio.sleep(0.01)
                except TimeoutError:
                    uplink.kill()
                    raise NoEgress(f"pasta did not come up within {UPLINK_SECONDS:g} s") from None
                if uplink.poll() is not None:
                    raise NoEgress(_why_ended(said.read() or b""))

    def _launch_uplink(self, channel: socket.socket) -> subprocess.Popen[bytes]:
        program = rules.find("pasta")
        if program is None:
            raise NoEgress("pasta is missing; install the Debian package passt")
        command = (
            program, "--foreground", "--netns-only", "--netns", "{namespace}", "--config-net", "--ipv4-only",
            "--no-map-gw", "--ns-ifname", rules.UPLINK, "--address", ADDRESS, "--netmask", NETMASK,
            "--gateway", GATEWAY, "--dns-forward", rules.DNS, "--mtu", str(links.MTU),
            "--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none",
        )  # fmt: skip
        numbers = (os.getpid(), channel.fileno(), self.namespace, USER)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_PROGRAM), *map(str, numbers), *command],
            pass_fds=[channel.fileno(), *([self.namespace] if self.namespace >= 0 else [])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
        )

    @property
    def is_up(self) -> bool:
        return self._uplink is not None and self._uplink.poll() is None

    async def revive(self) -> None:
        """Give it another uplink: the former one has ended. Workers keep their links.

        Raises:
            NoEgress: this machine cannot do it now.
        """
        try:
            self._refuse_host()
        except OSError as error:
            raise NoEgress(str(error)) from error
        await self._start_uplink()

    def _has_route(self) -> bool:
        # Without any it is about to end, without having made a namespace.
        return self._routes >= 0 and rules.UPLINK.encode() in os.pread(self._routes, 65536, 0)

    def _follow_host(self) -> None:
        """Keep the host's own addresses refused, whatever they become."""
        loop = asyncio.get_running_loop()
        changes = netlink.open_channel(netlink.RTMGRP_IPV4_IFADDR | netlink.RTMGRP_IPV6_IFADDR)
        changes.setblocking(False)
        self._changes = changes

        def changed() -> None:
            with contextlib.suppress(OSError):  # nothing more, or more than the kernel could keep for us
                while True:
                    changes.recv(65536)
            try:
                self._refuse_host()
            except OSError:
                # Rather no way out than one that leads to this machine; `revive` tries again.
                self._host = set()
                if self._uplink is not None:
                    self._uplink.kill()

        loop.add_reader(changes, changed)
        self._refuse_host()

    def _refuse_host(self) -> None:
        now = rules.addresses_of_host()
        if now != self._host:
            links.carry_out(links.load, self.namespace, rules.for_host(now))
            self._host = now

    async def connect(self, namespace: int) -> Link:
        """Lead a worker's network namespace, given by a descriptor, to the world. For root nothing is awaited.

        Raises:
            NoEgress: it cannot be.
        """
        link = self._free()
        try:
            await self._do(links.join, namespace, link.name, *link.addresses, passed=(namespace,))
        except BaseException as error:
            self.disconnect(link)
            if isinstance(error, OSError):
                raise NoEgress(f"its network device could not be made: {error}") from error
            raise
        return link

    def _free(self) -> Link:
        """The number that was free for longest: the router may still know connections of one that just ended."""
        if len(self._links) >= MOST_WORKERS:
            raise NoEgress("there are too many workers")
        while self._next in self._links:
            self._next = (self._next + 1) % MOST_WORKERS
        link = Link(self._next)
        self._links.add(link.number)
        self._next = (self._next + 1) % MOST_WORKERS
        return link

    def disconnect(self, link: Link) -> None:
        """Forget the link of a worker that has ended: the kernel removes it together with the worker's namespace."""
        self._links.discard(link.number)

    async def cut(self, link: Link) -> None:
        """Take a link away from a worker that lives on.

        Raises:
            OSError: it is still there.
        """
        await asyncio.to_thread(links.carry_out, links.cut, self.namespace, link.name)  # the kernel takes up to 20 ms
        self.disconnect(link)

    async def end(self) -> None:
        if self._changes is not None:
            asyncio.get_running_loop().remove_reader(self._changes)
            self._changes.close()
            self._changes = None
        if self._uplink is not None:
            self._uplink.kill()
            await asyncio.to_thread(self._uplink.wait)
        for descriptor in (self.namespace, self._routes, self.within):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)
        self.namespace, self._routes, self.within = -1, -1, None


def _see_to_tun() -> None:
    """An ordinary user's pasta opens this machine's own.

    Raises:
        NoEgress: it may not.
    """
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        mode = f"{stat.S_IMODE(TUN.stat().st_mode):o}"
        raise NoEgress(f"{TUN} is not for the agent's user, its mode is {mode}: {TUN_REMEDY}") from None
    except OSError as error:
        raise NoEgress(f"{TUN} cannot be opened ({error.strerror}): load the module tun, or {TUN_REMEDY}") from None


async def _readable(channel: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(channel, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(channel)


def _why_ended(said: bytes) -> str:
    # The lines about syslog, which is not there for pasta, mean nothing.
    lines = [line for line in said.decode(errors="replace").splitlines() if "syslog" not in line]
    last = lines[-1].strip() if lines else "it does not say why"
    if "xternal interface" in last:
        return f"this machine has no default route for IPv4 (pasta: {last})"
    return f"pasta ended: {last}"
