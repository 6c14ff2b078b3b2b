"""What a visitor asks, read once from the ASGI scope."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import urlsplit

from asgiref.typing import HTTPScope, Scope, WebSocketScope
from django.conf import settings

from apps.gateway import headers as h
from apps.gateway.routes import Key
from apps.spaces.hostnames import LABEL, is_own, is_under

RUN = re.compile(rb"/run/([A-Za-z0-9._-]{1,39})/([A-Za-z0-9._-]{1,96})(/.*)?", re.DOTALL)
TARGET = re.compile(rb"/[\x21-\x7e]*")
QUERY = re.compile(rb"[\x21-\x7e]*")
MAX_HOST_CHARACTERS = 260
"""A name of 253 octets with its port."""
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,128}")
SAFE_METHODS = frozenset({"GET", "HEAD"})
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


@dataclass(slots=True)
class Request:
    """A request or a websocket handshake.

    Attributes:
        kind: `http` or `websocket`.
        method: in capitals; GET for a websocket.
        host: as sent, with its port.
        key: which Space is meant; None for a host that cannot be one.
        prefix: `/run/<owner>/<name>` on the portal's host, empty on a Space's own.
        path: what the app is asked, percent-encoded as it came.
        query: without `?`.
        headers: lower-case names.
        first: the first value of each header.
        client: the visitor's own address.
        scheme: `http` or `https`, as the visitor uses it.
        origin: the `Origin` header.
        username: what the app is told that the visitor is called; empty for nothing.
        id: of this request in every log it leaves a trace in, the app's included.
        begun_at: when it came, by `time.perf_counter`.
        waited: seconds that it waited for a worker; None when it did not.
        visitor: what `apps.gateway.affinity` tells the visitor by; empty until it is needed.
    """

    kind: Literal["http", "websocket"]
    method: str
    host: str
    key: Key | None
    prefix: str
    path: bytes
    query: bytes
    headers: h.Headers
    first: dict[bytes, bytes]
    client: str
    scheme: str
    origin: bytes | None
    id: str = ""
    begun_at: float = 0.0
    waited: float | None = None
    visitor: bytes = b""
    username: str = ""

    @property
    def own_origin(self) -> bytes:
        return f"{self.scheme}://{self.host}".encode()

    @property
    def wants_html(self) -> bool:
        """Whether a browser shows the answer as a page."""
        if self.prefix or self.method not in SAFE_METHODS:
            return False
        return self.is_for_browser

    @property
    def is_for_browser(self) -> bool:
        """Whether a page is asked for, by whatever method."""
        mode = self.first.get(b"sec-fetch-mode")
        return mode == b"navigate" if mode else b"text/html" in self.first.get(b"accept", b"")

    @property
    def is_preflight(self) -> bool:
        return self.method == "OPTIONS" and self.origin is not None and b"access-control-request-method" in self.first

    @property
    def expects_body(self) -> bool:
        return b"transfer-encoding" in self.first or self.first.get(b"content-length", b"0") != b"0"


def host_of(scope: HTTPScope | WebSocketScope) -> str:
    return (h.get(scope["headers"], b"host") or b"").decode("latin-1").strip().lower()


def _name(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and (not port or port.isdecimal()) else host


def is_space_host(host: str) -> bool:
    """Whether a Host header means something under the Spaces' domain."""
    return is_under(_name(host).rstrip("."), settings.PORTICO_SPACES_DOMAIN)


@lru_cache(maxsize=4096)
def custom_domain(host: str) -> str | None:
    """The name in a Host header that may be some Space's custom domain, None for one that cannot: the portal's own
    hosts and what is under them, addresses, and single labels."""
    name = _name(host).rstrip(".")
    if is_own(name):
        return None
    labels = name.split(".")
    possible = len(labels) > 1 and all(LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()
    return name if possible else None


def is_for_gateway(scope: Scope) -> bool:
    """Whether the gateway answers this: a host under the Spaces' domain, one that is not the portal's own and may be
    a custom domain, or `/run/...` on the portal's. It also refuses what does not say one host, which Django would take
    for its own (RFC 9112, section 3.2)."""
    if scope["type"] not in ("http", "websocket"):
        return False
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1:
        return bool(hosts) or scope["http_version"] == "1.1"
    host = hosts[0].decode("latin-1").strip().lower()
    if is_space_host(host) or (len(host) <= MAX_HOST_CHARACTERS and custom_domain(host)):
        return True
    return _raw_path(scope).startswith(b"/run/")


def _raw_path(scope: HTTPScope | WebSocketScope) -> bytes:
    return (scope.get("raw_path") or scope["path"].encode()).split(b"?", 1)[0]


def read(scope: HTTPScope | WebSocketScope) -> Request:
    """Read the scope.

    Raises:
        apps.gateway.headers.BadHeaders: it cannot be passed on; the text says why.
    """
    headers = [(name.lower(), value) for name, value in scope["headers"]]
    first = h.check(headers)
    h.check_framing(headers, first)
    path, query = _raw_path(scope), scope["query_string"]
    host = first[b"host"].decode("latin-1").strip().lower()
    if not TARGET.fullmatch(path) or (query and not QUERY.fullmatch(query)):
        raise h.BadHeaders("malformed request target")
    key, prefix = _key(host, path)
    if prefix:
        path = path[len(prefix) :] or b"/"
    peer = scope.get("client")
    address = str(peer[0]) if peer else ""
    secure = settings.PORTICO_SCHEME == "https" or scope.get("scheme") in ("https", "wss")
    return Request(
        kind=scope["type"],
        method=scope["method"].upper() if scope["type"] == "http" else "GET",
        host=host,
        key=key,
        prefix=prefix,
        path=path,
        query=query,
        headers=headers,
        first=first,
        client=h.client_address(address, headers),
        scheme="https" if secure else "http",
        origin=first.get(b"origin"),
        id=_request_id(address, first),
        begun_at=time.perf_counter(),
    )


def new_request_id() -> str:
    return os.urandom(16).hex()


def _request_id(peer: str, first: dict[bytes, bytes]) -> str:
    """What a trusted front proxy calls this request, or a new name. What anybody else says is not believed: it could be
    another's, or made to mislead who reads the logs."""
    given = first.get(b"x-request-id")
    if given is not None and h.is_trusted_proxy(peer) and REQUEST_ID.fullmatch(given):
        return given.decode()
    return new_request_id()


def _key(host: str, path: bytes) -> tuple[Key | None, str]:
    if is_space_host(host):
        label = _name(host).rstrip(".").removesuffix(settings.PORTICO_SPACES_DOMAIN).rstrip(".")
        return (("subdomain", label) if LABEL.fullmatch(label) else None), ""
    if len(host) <= MAX_HOST_CHARACTERS and (name := custom_domain(host)):
        return ("domain", name), ""
    found = RUN.fullmatch(path)
    if not found:
        return None, "/run"
    owner, name = found[1].decode(), found[2].decode()
    return ("slug", f"{owner}/{name}".lower()), f"/run/{owner}/{name}"


def is_web_origin(origin: bytes | None) -> bool:
    """Whether this is the origin of an ordinary page; `null` is not."""
    if origin is None:
        return False
    try:
        parts = urlsplit(origin.decode("ascii"))
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.path and not parts.query
