"""The few commands of rtnetlink(7) that a worker's link takes. In this process, since a start waits for them: `ip`
would take ten times as long."""

from __future__ import annotations

import errno
import os
import socket
import struct

NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
NLMSG_ERROR = 2
RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 17, 20, 24
RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x10, 0x100
IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_NET_NS_FD = 3, 4, 18, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_GATEWAY = 5
RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST = 254, 4, 1
IFF_UP = 1


def open_channel(groups: int = 0) -> socket.socket:
    """A socket for the commands below, of the network namespace that this thread is in. With `groups` it hears of
    changes instead."""
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    channel.bind((0, groups))
    return channel


def add_pair(channel: socket.socket, name: str, namespace: int, peer: str, mtu: int) -> None:
    """A veth device `name` here whose other end is `peer` in the network namespace of a descriptor.

    Raises:
        OSError: as the kernel says.
    """
    other = _link() + _text(IFLA_IFNAME, peer) + _number(IFLA_MTU, mtu) + _number(IFLA_NET_NS_FD, namespace)
    kind = _text(IFLA_INFO_KIND, "veth") + _attribute(IFLA_INFO_DATA, _attribute(VETH_INFO_PEER, other))
    body = _link() + _text(IFLA_IFNAME, name) + _number(IFLA_MTU, mtu) + _attribute(IFLA_LINKINFO, kind)
    _ask(channel, RTM_NEWLINK, body, NLM_F_CREATE | NLM_F_EXCL)


def remove(channel: socket.socket, name: str) -> None:
    """Remove a device, and with it its other end; nothing happens if it is gone.

    Raises:
        OSError: as the kernel says.
    """
    try:
        _ask(channel, RTM_DELLINK, _link() + _text(IFLA_IFNAME, name))
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def bring_up(channel: socket.socket, index: int) -> None:
    _ask(channel, RTM_NEWLINK, _link(index, IFF_UP))


def add_address(channel: socket.socket, index: int, address: bytes, prefix: int) -> None:
    """Give device number `index` an address, 4 or 16 bytes."""
    head = struct.pack("BBBBi", _family(address), prefix, 0, 0, index)
    body = head + _attribute(IFA_LOCAL, address) + _attribute(IFA_ADDRESS, address)
    _ask(channel, RTM_NEWADDR, body, NLM_F_CREATE | NLM_F_EXCL)


def add_default_route(channel: socket.socket, gateway: bytes) -> None:
    head = struct.pack("BBBBBBBBI", _family(gateway), 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, 0)
    _ask(channel, RTM_NEWROUTE, head + _attribute(RTA_GATEWAY, gateway), NLM_F_CREATE | NLM_F_EXCL)


def _family(address: bytes) -> int:
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def _link(index: int = 0, flags: int = 0) -> bytes:
    return struct.pack("BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("I", value))


def _ask(channel: socket.socket, kind: int, body: bytes, flags: int = 0) -> None:
    flags |= NLM_F_REQUEST | NLM_F_ACK
    channel.send(struct.pack("IHHII", 16 + len(body), kind, flags, 1, 0) + body)
    answer = channel.recv(65536)
    _, answered, _, _, _, code = struct.unpack_from("IHHIIi", answer)
    if answered == NLMSG_ERROR and code:
        raise OSError(-code, os.strerror(-code))
