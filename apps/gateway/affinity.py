"""Which of a Space's workers answers a visitor, where it has more than one: always the same, while that one lives.

Rendezvous hashing: every worker gets a weight from its name and the visitor's, the heaviest one answers. Each process
of the gateway comes to the same choice without asking another, and a worker that goes or comes moves its own visitors
only. A visitor is told by a cookie of the gateway's own, so that those behind one address spread, or by their address
where there is none: programs, and browsers that keep no cookies. It says no more than one of 65,536 things.
"""

from __future__ import annotations

import re
import secrets
from hashlib import blake2b

from apps.gateway import headers as h
from apps.gateway.answers import Answer, HostAnswer
from apps.gateway.requests import Request
from apps.gateway.workers import Pool

VALUE = re.compile(r"[0-9a-f]{4}")


def choose(pool: Pool, request: Request, answer: Answer | None = None) -> Pool:
    """The one of the Space's workers that answers this visitor.

    Args:
        pool: any of them.
        request: who asks.
        answer: where a visitor may be given the cookie. None for a websocket.
    """
    if not pool.peers:
        return pool
    if not request.visitor:
        request.visitor = _visitor(request, answer)
    return max(pool.peers, key=lambda peer: _weight(peer, request.visitor))


def _visitor(request: Request, answer: Answer | None) -> bytes:
    if request.prefix:  # on the portal's own origin, where no cookie is the Space's
        return request.client.encode()
    value = h.cookie(request.headers, h.WORKER_COOKIE)
    if value is not None and VALUE.fullmatch(value):
        return value.encode()
    if isinstance(answer, HostAnswer) and request.wants_html:
        # With a page alone: a program might not keep it, and would come as somebody else each time.
        value = secrets.token_hex(2)
        answer.set_cookie = h.own_cookie(h.WORKER_COOKIE, value)
        return value.encode()
    return request.client.encode()


def _weight(pool: Pool, visitor: bytes) -> bytes:
    return blake2b(visitor, key=pool.worker.id.bytes, digest_size=8).digest()
