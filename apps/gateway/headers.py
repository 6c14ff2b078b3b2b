"""What passes the gateway in a header, and what does not.

Everything here works on ASGI's list of `(name, value)` byte pairs, names in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

from django.conf import settings

Headers = list[tuple[bytes, bytes]]

MAX_COUNT = 200
MAX_BYTES = 64 * 1024

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
LENGTH = re.compile(rb"[0-9]{1,18}")
COMMON = frozenset(
    b"accept accept-encoding accept-language accept-ranges access-control-allow-origin authorization cache-control "
    b"connection content-encoding content-length content-security-policy content-type cookie date dnt etag expires "
    b"host if-modified-since if-none-match last-modified location origin pragma priority range referer sec-ch-ua "
    b"sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user server "
    b"set-cookie transfer-encoding upgrade-insecure-requests user-agent vary x-forwarded-for x-forwarded-host "
    b"x-forwarded-proto x-requested-with".split()
)
"""Names that need no second look."""
FORBIDDEN_IN_VALUE = re.compile(rb"[\x00\r\n]")

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110, section 7.6.1, and the names that older programs use."""

OURS_IN_REQUESTS = frozenset({b"forwarded", b"x-real-ip", b"x-request-id", b"expect", b"host"})
OURS_IN_RESPONSES = frozenset(
    {
        b"alt-svc",  # would lead the next visit past the gateway
        b"date",  # the server's own, in the same second
        b"clear-site-data",  # clears the cookies of the whole registrable domain: siblings', and the portal's
        b"nel",
        b"report-to",
        b"server",
        b"strict-transport-security",
        b"x-frame-options",
        b"x-request-id",
        b"x-sendfile",
    }
)
NOT_PASSED_BACK = HOP_BY_HOP | OURS_IN_RESPONSES
PREFIXES_OURS_IN_RESPONSES = (b"access-control-", b"x-accel-")
"""CORS is the gateway's to decide; `X-Accel-Redirect` would make an nginx in front serve its own files."""

NOT_PASSED_ON = HOP_BY_HOP | OURS_IN_REQUESTS | {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}
OURS_BY_PREFIX = (b"x-forwarded-", b"x-accel-", b"x-portico-")

ACCESS_COOKIE = "__Host-portico_access" if settings.PORTICO_SCHEME == "https" else "portico_access"
WORKER_COOKIE = "__Host-portico_worker" if settings.PORTICO_SCHEME == "https" else "portico_worker"
PRIVATE_COOKIES = frozenset(
    name.encode() for name in (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME, ACCESS_COOKIE, WORKER_COOKIE)
)
TOKEN_HEADERS = (b"authorization", b"x-hf-authorization")


class BadHeaders(ValueError):
    """Headers that RFC 9110 or our limits refuse; the text says which."""


def get(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The first value of a header, or None."""
    return next((value for key, value in headers if key == name), None)


def check(headers: Headers) -> dict[bytes, bytes]:
    """Refuse what is too much, malformed, or may mean different things to two parsers.

    Returns:
        The first value of each header.

    Raises:
        BadHeaders: with the reason.
    """
    first: dict[bytes, bytes] = {}
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
        if (name not in COMMON and not TOKEN.fullmatch(name)) or FORBIDDEN_IN_VALUE.search(value):
            raise BadHeaders("malformed header field")
        first.setdefault(name, value)
    if len(headers) > MAX_COUNT or size > MAX_BYTES:
        raise BadHeaders("too many or too large header fields")
    return first


def check_framing(headers: Headers, first: dict[bytes, bytes]) -> None:
    """Refuse request framing that could be used for smuggling (RFC 9112, section 6.3).

    Args:
        headers, first: as `check` took and gave them.

    Raises:
        BadHeaders: with the reason.
    """
    length, coding = first.get(b"content-length"), first.get(b"transfer-encoding")
    if b"host" not in first or (len(first) != len(headers) and _count(headers, b"host") != 1):
        raise BadHeaders("exactly one Host is needed")
    if length is not None and (not LENGTH.fullmatch(length) or _count(headers, b"content-length") != 1):
        raise BadHeaders("malformed or repeated Content-Length")
    if coding is None:
        return
    if length is not None or coding.strip().lower() != b"chunked" or _count(headers, b"transfer-encoding") != 1:
        raise BadHeaders("Transfer-Encoding that cannot be followed")


def _count(headers: Headers, name: bytes) -> int:
    return sum(key == name for key, _ in headers)


def _named_by_connection(headers: Headers) -> set[bytes]:
    named: set[bytes] = set()
    for name, value in headers:
        if name == b"connection":
            named.update(token.strip().lower() for token in value.split(b","))
    named.discard(b"content-length")  # a body whose length is taken away would be read as another request
    return named


def without_cookies(value: bytes, names: frozenset[bytes] = PRIVATE_COOKIES) -> bytes:
    """A `Cookie` header without the cookies called `names`."""
    kept = [c.strip() for c in value.split(b";") if c.split(b"=", 1)[0].strip() not in names]
    return b"; ".join(c for c in kept if c)


def cookie(headers: Headers, name: str) -> str | None:
    """The value of a request's cookie, or None."""
    wanted = name.encode()
    for key, value in headers:
        if key == b"cookie":
            for pair in value.split(b";"):
                found, _, text = pair.strip().partition(b"=")
                if found == wanted:
                    return text.decode("latin-1")
    return None


def own_cookie(name: str, value: str, seconds: int | None = None) -> bytes:
    """The `Set-Cookie` value for a cookie of ours on a Space's host, for `seconds` or until the browser is closed.

    In a frame a cookie must be `SameSite=None; Secure`, and partitioned to outlive third-party blocking. Browsers
    take `Secure` from localhost names as well; a plain-http portal elsewhere gets a cookie for visits only.
    """
    age = "" if seconds is None else f"; Max-Age={seconds}"
    attributes = f"{name}={value}; Path=/{age}; HttpOnly"
    if settings.PORTICO_SCHEME == "https" or settings.PORTICO_SPACES_DOMAIN.endswith("localhost"):
        return f"{attributes}; SameSite=None; Secure; Partitioned".encode()
    return f"{attributes}; SameSite=Lax".encode()


def best_coding(accepted: bytes) -> bytes:
    """`br`, `gzip`, or nothing: the best of them that an `Accept-Encoding` takes (RFC 9110, section 12.5.3)."""
    weights: dict[bytes, float] = {}
    for part in accepted.lower().split(b","):
        name, _, weight = part.partition(b";")
        try:
            weights[name.strip()] = float(weight.strip().removeprefix(b"q=") or 1)
        except ValueError:
            weights[name.strip()] = 0
    return next((coding for coding in (b"br", b"gzip") if weights.get(coding, weights.get(b"*", 0)) > 0), b"")


def matches(if_none_match: bytes | None, etag: bytes) -> bool:
    """Whether an `If-None-Match` names this tag, compared weakly (RFC 9110, section 13.1.2)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
    return if_none_match.strip() == b"*" or etag in tags


def bearer(value: bytes) -> str | None:
    """The token text of an `Authorization: Bearer hf_...` value, or None for any other scheme or token."""
    scheme, _, text = value.strip().partition(b" ")
    token = text.strip()
    if scheme.lower() != b"bearer" or not token.startswith(b"hf_") or len(token) > 512:
        return None
    return token.decode("latin-1")


def for_upstream(headers: Headers, *, drop: frozenset[bytes] = frozenset(), websocket: bool = False) -> Headers:
    """The request's end-to-end headers, without ours; `Host` and what we add ourselves follow separately.

    Args:
        headers: as they came.
        drop: further names, as the header that carried one of our tokens.
        websocket: drop the handshake's own headers too.
    """
    named = _named_by_connection(headers)
    kept: Headers = []
    for name, value in headers:
        if name in NOT_PASSED_ON or name in named or name in drop:
            continue
        if name not in COMMON and (name.startswith(OURS_BY_PREFIX) or b"_" in name):
            continue
        if websocket and name.startswith(b"sec-websocket-"):
            continue
        if name == b"cookie":
            value = without_cookies(value)  # noqa: PLW2901
            if not value:
                continue
        kept.append((name, value))
    return kept


def own_set_cookie(value: bytes) -> bytes | None:
    """An app's `Set-Cookie`, made host-only; None when it is not the app's to set."""
    first, *attributes = value.split(b";")
    if first.split(b"=", 1)[0].strip() in PRIVATE_COOKIES:
        return None
    kept = [a for a in attributes if a.split(b"=", 1)[0].strip().lower() != b"domain"]
    return b";".join([first, *kept])


def without_frame_ancestors(policy: bytes) -> bytes:
    """A Content-Security-Policy (or several, comma-separated) without its `frame-ancestors`."""
    policies = []
    for one in policy.split(b","):
        directives = [d.strip() for d in one.split(b";") if d.strip()]
        kept = [d for d in directives if d.split(None, 1)[0].lower() != b"frame-ancestors"]
        if kept:
            policies.append(b"; ".join(kept))
    return b", ".join(policies)


def from_upstream(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """An app's response headers, without hop-by-hop ones and without what is the gateway's to say.

    Raises:
        BadHeaders: the app sent what no client should get.
    """
    headers = [(name.lower(), value.strip(b" \t")) for name, value in raw]
    check(headers)
    named = _named_by_connection(headers)
    kept: Headers = []
    for name, value in headers:
        if name in NOT_PASSED_BACK or name in named or name.startswith(PREFIXES_OURS_IN_RESPONSES):
            continue
        passed: bytes | None = value
        if name == b"set-cookie":
            passed = own_set_cookie(value)
        elif name in {b"content-security-policy", b"content-security-policy-report-only"}:
            passed = without_frame_ancestors(value) or None
        if passed is not None:
            kept.append((name, passed))
    return kept


def is_trusted_proxy(address: str) -> bool:
    return address in settings.PORTICO_TRUSTED_PROXIES


def client_address(peer: str, headers: Headers) -> str:
    """The visitor's own address: the peer's, or what a trusted front proxy says it is.

    Read from the right, since everything left of the first untrusted address was written by that one.
    """
    if not is_trusted_proxy(peer):
        return peer
    chain = [a.strip() for k, v in headers if k == b"x-forwarded-for" for a in v.decode("latin-1").split(",")]
    for address in reversed(chain):
        try:
            ip_address(address)
        except ValueError:
            break
        if not is_trusted_proxy(address):
            return address
    return peer
