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
