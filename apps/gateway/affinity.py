"""Which of a Space's workers answers a visitor, where it has more than one: always the same, while that one lives.

Rendezvous hashing: every worker gets a weight from its name and the visitor's, the heaviest one answers. Each process
of the gateway comes to the same choice without asking another, and a worker that goes or comes moves its own visitors
only. A visitor is told by a cookie of the gateway's own, so that those behind one address spread, or by their address
where there is none: programs, and browsers that keep no cookies. It says no more than one of 65,536 things. A new
visitor's page goes to the worker that is used least, and its cookie to the same one.

A Gradio session (`session_hash`: joined by one request, heard by another) stays with the worker that it was joined at,
even when its requests come without the cookie and from another address, as those of a client with IPv4 and IPv6 may.
It is not spread by its own name: what a program uploads before it joins, and downloads after, says no session and lies
on the worker that its address leads to.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import OrderedDict
from hashlib import blake2b

from apps.gateway import headers as h
from apps.gateway.answers import Answer, HostAnswer
from apps.gateway.bodies import Body
from apps.gateway.requests import Request
from apps.gateway.workers import Pool

VALUE = re.compile(r"[0-9a-f]{4}")
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
SESSION = re.compile(rb"(?:^|&)session_hash=([A-Za-z0-9_-]{1,64})(?:&|$)")
MAX_DRAWN = 64
MAX_SESSIONS = 50_000
MAX_PEEKED = 64 * 1024
PEEK_SECONDS = 5.0


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
        request.visitor = _visitor(pool, request, answer)
    return _heaviest(pool, request.visitor)


def _heaviest(pool: Pool, visitor: bytes) -> Pool:
    return max(pool.peers, key=lambda peer: _weight(peer, visitor))


def _visitor(pool: Pool, request: Request, answer: Answer | None) -> bytes:
    if value := _cookie(request):
        return value
    if isinstance(answer, HostAnswer) and request.wants_html:
        # With a page alone: a program might not keep it, and would come as somebody else each time.
        value = _new_visitor(pool)
        answer.set_cookie = h.own_cookie(h.WORKER_COOKIE, value.decode())
        return value
    return request.client.encode()


def _cookie(request: Request) -> bytes:
    if request.prefix:  # on the portal's own origin, where no cookie is the Space's
        return b""
    value = h.cookie(request.headers, h.WORKER_COOKIE)
    return value.encode() if value is not None and VALUE.fullmatch(value) else b""


def _new_visitor(pool: Pool) -> bytes:
    """A name that leads to a worker that is used least now."""
    least = min(peer.users for peer in pool.peers)
    for _ in range(MAX_DRAWN):
        value = secrets.token_hex(2).encode()
        if _heaviest(pool, value).users == least:
            break
    return value


class Sessions:
    """Who the Gradio sessions of one event loop belong to, as far as it has seen them."""

    def __init__(self) -> None:
        self._visitors: OrderedDict[tuple[int, bytes], bytes] = OrderedDict()

    async def recognise(self, pool: Pool, request: Request, body: Body) -> None:
        """Take a request that names a session for its visitor's.

        Args:
            pool: any of the Space's workers.
            request: who asks.
            body: its first bytes are looked at when it joins a session.
        """
        joined = await _joined(request, body)
        found = None if joined else SESSION.search(request.query)
        session = joined or (found[1] if found else b"")
        if not session:
            return
        key = (pool.worker.deployment_id, session)
        known = None if joined else self._visitors.get(key)
        request.visitor = _cookie(request) or known or request.client.encode()
        self._visitors[key] = request.visitor
        self._visitors.move_to_end(key)
        if len(self._visitors) > MAX_SESSIONS:
            self._visitors.popitem(last=False)


async def _joined(request: Request, body: Body) -> bytes:
    """The session that a request joins, empty when it joins none."""
    if request.method != "POST" or not request.path.endswith(b"/queue/join"):
        return b""
    if int(request.first.get(b"content-length", MAX_PEEKED + 1)) > MAX_PEEKED:
        return b""
    if request.first.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        return b""
    try:
        said = json.loads(await body.peek(PEEK_SECONDS))
    except (ValueError, RecursionError):
        return b""
    session = said.get("session_hash") if isinstance(said, dict) else None
    return session.encode() if isinstance(session, str) and NAME.fullmatch(session) else b""


def _weight(pool: Pool, visitor: bytes) -> bytes:
    return blake2b(visitor, key=pool.worker.id.bytes, digest_size=8).digest()
