"""Where a request really comes from, as far as the operator lets us believe it."""

from __future__ import annotations

import ipaddress

from django.conf import settings
from django.http import HttpRequest

UNKNOWN = "0.0.0.0"  # noqa: S104 - an address to write down, not one to listen on


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip().strip("[]"))
    except ValueError:
        return None


def network(address: str) -> str:
    """What counts as one visitor: an IPv4 address, or an IPv6 network of 64 bits, as one subscriber gets at least
    (RFC 6177). Empty for what is no address.

    >>> network("2001:db8:1:2:3:4:5:6"), network("::ffff:192.0.2.1")
    ('2001:db8:1:2::', '192.0.2.1')
    """
    parsed = _parse(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = parsed.ipv4_mapped or ipaddress.IPv6Address(int(parsed) >> 64 << 64)
    return str(parsed) if parsed is not None else ""


def client_address(request: HttpRequest) -> str:
    """The client's own address, for rate limits and session lists.

    `X-Forwarded-For` counts only as far as it was written by PORTICO_TRUSTED_PROXIES: it is
    read from the right, and the first address that is not one of theirs is the client's. Everything left of it is
    the client's own claim.
    """
    address = _parse(request.META.get("REMOTE_ADDR") or "")
    if address is None:
        return UNKNOWN
    for text in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        if str(address) not in settings.PORTICO_TRUSTED_PROXIES:
            break
        further = _parse(text)
        if further is None:
            break
        address = further
    return str(address)
