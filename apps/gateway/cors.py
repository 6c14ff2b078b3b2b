"""Which other sites' scripts may talk to a Space.

The gateway decides, not the app: a public Space may be embedded anywhere, so any web page may call it, with
credentials (Gradio's client sends every request with them). Where its owner says which sites may show it, or that none
may, scripts of the others would draw it without the frame that browsers refuse them: they may not call it either. A
closed one, private or behind a password, may be called by its own pages alone. Whoever sends an access token may call
any. The `null` origin, which any sandboxed frame or local file can have, is never allowed.
"""

from __future__ import annotations

from django.conf import settings

from apps.gateway import headers as h
from apps.gateway.answers import Answer
from apps.gateway.requests import Request, is_web_origin
from apps.gateway.routes import Route
from apps.spaces.hostnames import is_named, who_may_show

METHODS = frozenset({b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT"})
MAX_AGE_SECONDS = b"600"


def allowed_origin(request: Request, route: Route, *, by_token: bool) -> bytes | None:
    """The origin whose scripts may read the answer, or None."""
    if request.origin is None or not is_web_origin(request.origin):
        return None
    return request.origin if by_token or is_welcome(request, route) else None


def is_welcome(request: Request, route: Route) -> bool:
    """Whether scripts of the page that a request with an `Origin` comes from may call the Space without a token."""
    if request.origin == request.own_origin:
        return True
    if route.closed:
        return False
    sites = who_may_show(route.embedding_sites.split(), disabled=route.disable_embedding, private=route.private)
    asks = (request.origin or b"").decode("latin-1")
    return sites is None or asks == settings.PORTICO_URL or is_named(sites, asks)


def asks_for_token(request: Request) -> bool:
    """Whether a preflight announces a request that carries an `Authorization`."""
    names = h.get(request.headers, b"access-control-request-headers") or b""
    return bool({n.strip().lower() for n in names.split(b",")} & set(h.TOKEN_HEADERS))


async def answer_preflight(request: Request, answer: Answer, route: Route | None) -> bool:
    """Answer a preflight here, without the app. False when it is to be treated as any other request.

    A preflight carries no credentials. For a closed Space, and for a name that never was, it is granted just when
    it announces a token, which is then looked at. So it is for a site whose scripts may not call the Space.
    """
    public = route is not None and not route.closed
    if not (public or asks_for_token(request)):
        return False
    is_granted = route is None or route.closed or asks_for_token(request) or is_welcome(request, route)
    headers: h.Headers = [
        (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        (b"cache-control", b"no-store"),
    ]
    method = h.get(request.headers, b"access-control-request-method") or b""
    names = [n.strip() for n in (h.get(request.headers, b"access-control-request-headers") or b"").split(b",")]
    if is_granted and request.origin is not None and is_web_origin(request.origin) and method in METHODS:
        headers += [
            (b"access-control-allow-origin", request.origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-allow-methods", b", ".join(sorted(METHODS))),
            (b"access-control-max-age", MAX_AGE_SECONDS),
        ]
        if allowed := [n for n in names if h.TOKEN.fullmatch(n)]:
            headers.append((b"access-control-allow-headers", b", ".join(allowed)))
    await answer.start(204, headers)
    await answer.body(b"", more=False)
    return True
