"""Which other sites' scripts may talk to a Space.

The gateway decides, not the app: a public Space may be embedded anywhere, so any web page may call it, with
credentials (Gradio's client sends every request with them). A closed one, private or behind a password, may be called
by its own pages, and by whoever sends an access token. The `null` origin, which any sandboxed frame or local file can
have, is never allowed.
"""

from __future__ import annotations

from apps.gateway import headers as h
from apps.gateway.answers import Answer
from apps.gateway.requests import Request, is_web_origin
from apps.gateway.routes import Route

METHODS = frozenset({b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT"})
MAX_AGE_SECONDS = b"600"


def allowed_origin(request: Request, route: Route, *, by_token: bool) -> bytes | None:
    """The origin whose scripts may read the answer, or None."""
    if request.origin is None or not is_web_origin(request.origin):
        return None
    if not route.closed or by_token or request.origin == request.own_origin:
        return request.origin
    return None


def asks_for_token(request: Request) -> bool:
    """Whether a preflight announces a request that carries an `Authorization`."""
    names = h.get(request.headers, b"access-control-request-headers") or b""
    return bool({n.strip().lower() for n in names.split(b",")} & set(h.TOKEN_HEADERS))


async def answer_preflight(request: Request, answer: Answer, route: Route | None) -> bool:
    """Answer a preflight here, without the app. False when it is to be treated as any other request.

    A preflight carries no credentials. For a closed Space, and for a name that never was, it is granted just when
    it announces a token, which is then looked at.
    """
    public = route is not None and not route.closed
    if not (public or asks_for_token(request)):
        return False
    headers: h.Headers = [
        (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        (b"cache-control", b"no-store"),
    ]
    method = h.get(request.headers, b"access-control-request-method") or b""
    names = [n.strip() for n in (h.get(request.headers, b"access-control-request-headers") or b"").split(b",")]
    if request.origin is not None and is_web_origin(request.origin) and method in METHODS:
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
