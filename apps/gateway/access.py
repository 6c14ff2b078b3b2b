"""Who may see a private Space, or one behind a password, on its own host.

The portal and a Space's host share no cookie. A signed-in person comes over with a one-time code in the address
(`?__sign=`), as with an OAuth 2.0 authorization code; the gateway redeems it for a cookie of that host alone,
partitioned so that it also works in a frame. The cookie says who it is, never that they may: the database is asked
again and again. Whoever knows a Space's password gets such a cookie too (`apps.gateway.passwords`), which names the
password instead of a person, and so does whoever has a link that its owner made (`apps.spaces.links`). Programs send
one of our access tokens instead.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, TypeVar
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.core import signing
from django.db import transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from apps.accounts.models import AccessToken, User
from apps.accounts.tokens import digest, user_for_token
from apps.builds.models import Deployment
from apps.gateway.headers import ACCESS_COOKIE, own_cookie
from apps.gateway.models import AccessCode
from apps.gateway.routes import Route
from apps.runtime.database import in_database
from apps.spaces.links import read_signed
from apps.spaces.models import ShareLink, Space
from apps.spaces.selectors import usable_by

K = TypeVar("K")
V = TypeVar("V")

CODE_SECONDS = 60
COOKIE_SECONDS = 12 * 3600
RIGHT_SECONDS = 1.0
MAX_RIGHTS = 5_000
SALT = "apps.gateway.access"


def issue_code(space: Space, user: User) -> str:
    """Return a code that lets `user` into `space` on its own host, once, within a minute.

    The caller has checked that `user` may see the Space; the gateway checks again when it is used.
    """
    code = secrets.token_urlsafe(32)
    now = timezone.now()
    AccessCode.objects.filter(expires_at__lt=now).delete()
    AccessCode.objects.create(
        digest=digest(code), space=space, user=user, expires_at=now + timedelta(seconds=CODE_SECONDS)
    )
    return code


def frame_url(space: Space, user: User | AnonymousUser, path: str | None = None) -> str:
    """The address to frame a Space by: its own, with a one-time code for a `user` who may use it when it is
    closed, or is told who asks. `path` is where its app begins, unless another one is given, percent-encoded."""
    if path is None:
        deployment = Deployment.objects.filter(space=space, is_current=True).only("base_path").first()
        path = deployment.base_path if deployment else "/"
    address = space.url.rstrip("/") + path
    if not (space.is_private or space.asks_password or space.tells_username) or not user.is_authenticated:
        return address
    if not usable_by(user).filter(pk=space.pk).exists():
        return address
    return f"{address}{'&' if '?' in address else '?'}__sign={issue_code(space, user)}"


@dataclass(frozen=True, slots=True)
class Pass:
    """What a cookie of ours says.

    Attributes:
        user_id: who; None for somebody without an account.
        session: a name for what let them in, which ends with it: their account's password when they came or, for
            somebody without an account, the Space's (`for_lock`) or a link of its owner's.
    """

    space_id: int
    user_id: int | None
    session: str


def for_lock(lock: str) -> str:
    """The session of whoever knows the password that `lock` names."""
    return f"password:{lock}"


def _session_digest(user: User) -> str:
    return user.get_session_auth_hash()[:16]


def for_user(space_id: int, user: User) -> Pass:
    """What the cookie of a person says who has just proven who they are."""
    return Pass(space_id, user.pk, _session_digest(user))


LINK = "link:"
"""What the session of whoever came by a link begins with."""


def redeem(code: str, space_id: int) -> Awaitable[tuple[Pass, int] | None]:
    """What `__sign` in an address is good for, and for how many seconds: a code, once, or a link, until it ends.

    None when it is unknown, used, too old, or for another Space (and a code is used up then too).
    """
    link = read_signed(code)
    return _redeem_code(code, space_id) if link is None else _redeem_link(link, space_id)


@in_database
def _redeem_link(pk: UUID, space_id: int) -> tuple[Pass, int] | None:
    now = timezone.now()
    link = ShareLink.objects.filter(pk=pk, space=space_id, expires_at__gt=now).first()
    if link is None:
        return None
    left = math.ceil((link.expires_at - now).total_seconds())
    return Pass(space_id, None, f"{LINK}{pk.hex}"), min(left, COOKIE_SECONDS)


@in_database
def _redeem_code(code: str, space_id: int) -> tuple[Pass, int] | None:
    with transaction.atomic():
        row = AccessCode.objects.select_related("user").filter(digest=digest(code)).first()
        if row is None or AccessCode.objects.filter(digest=row.digest).delete()[0] != 1:
            return None
    if row.space_id != space_id or row.expires_at <= timezone.now():
        return None
    return for_user(space_id, row.user), COOKIE_SECONDS


def cookie_value(given: Pass) -> str:
    return signing.dumps([given.space_id, given.user_id, given.session], salt=SALT)


def read_cookie(value: str, space_id: int) -> Pass | None:
    """The pass in a cookie of ours, or None when it is not ours, too old, or another Space's."""
    try:
        given = Pass(*signing.loads(value, salt=SALT, max_age=COOKIE_SECONDS))
    except (signing.BadSignature, TypeError, ValueError):
        return None
    return given if given.space_id == space_id else None


def set_cookie(given: Pass, seconds: int = COOKIE_SECONDS) -> bytes:
    """The `Set-Cookie` value for a pass."""
    return own_cookie(ACCESS_COOKIE, cookie_value(given), seconds)


@in_database
def _may_see(space_id: int, user_id: int | None, session: str) -> bool:
    if user_id is None:
        link = session.removeprefix(LINK)
        return ShareLink.objects.filter(pk=link, space=space_id, expires_at__gt=timezone.now()).exists()
    user = _find_user(user_id, session)
    return user is not None and usable_by(user).filter(pk=space_id).exists()


def _find_user(user_id: int, session: str) -> User | None:
    """The person, unless they may not act, or a cookie's session of theirs has ended."""
    user = User.objects.select_related("namespace").filter(pk=user_id, is_active=True).first()
    if user is None or user.namespace.is_suspended:
        return None
    if session and not constant_time_compare(session, _session_digest(user)):
        return None
    return user


@in_database
def _read_username(user_id: int, session: str) -> str:
    user = _find_user(user_id, session)
    return user.username if user else ""


class Token(NamedTuple):
    """What a bearer token turned out to be.

    Attributes:
        ours: one of this portal's, which no app may see.
        user_id: whose it is; None when it is not ours, or its owner may not act.
    """

    ours: bool
    user_id: int | None


@in_database
def _read_token(text: str) -> Token:
    user = user_for_token(text)
    ours = user is not None or AccessToken.objects.filter(digest=digest(text)).exists()
    return Token(ours, user.pk if user else None)


class Rights:
    """Answers of the database about who may see what, each believed for about a second."""

    def __init__(self) -> None:
        self._rights: dict[tuple[int, int | None, str], tuple[float, bool]] = {}
        self._names: dict[tuple[int, str], tuple[float, str]] = {}
        self._tokens: dict[str, tuple[float, Token | None]] = {}

    async def may_see(self, route: Route, user_id: int | None, session: str = "") -> bool:
        """Whether this person may see the Space; None is somebody without an account."""
        if not route.closed:
            return True
        if user_id is None and not session.startswith(LINK):
            return bool(route.lock) and constant_time_compare(session, for_lock(route.lock))
        key, now = (route.space_id, user_id, session), time.monotonic()
        until, answer = self._rights.get(key, (0.0, False))
        if until <= now:
            answer = await _may_see(*key)
            _keep(self._rights, key, (now + RIGHT_SECONDS, answer))
        return answer

    async def username(self, user_id: int, session: str) -> str:
        """What this person is called; empty for one who may not act."""
        key, now = (user_id, session), time.monotonic()
        until, name = self._names.get(key, (0.0, ""))
        if until <= now:
            name = await _read_username(*key)
            _keep(self._names, key, (now + RIGHT_SECONDS, name))
        return name

    def forget(self, space_id: int) -> None:
        """Ask again about the Space."""
        for key in [key for key in self._rights if key[0] == space_id]:
            del self._rights[key]

    async def token(self, text: str) -> Token:
        """Whose access token this is."""
        key, now = digest(text), time.monotonic()
        until, found = self._tokens.get(key, (0.0, None))
        if found is None or until <= now:
            found = await _read_token(text)
            _keep(self._tokens, key, (now + RIGHT_SECONDS, found))
        return found


def _keep(cache: dict[K, V], key: K, value: V) -> None:
    if len(cache) >= MAX_RIGHTS:
        cache.clear()
    cache[key] = value
