"""Access tokens: made once, kept as digests, looked up by whoever answers programs."""

from __future__ import annotations

import hashlib
import secrets
import string
from datetime import timedelta

from django.utils import timezone

from apps.accounts.models import AccessToken, User

PREFIX = "hf_"
"""What the Hub's clients expect: the JavaScript one refuses any other."""
LETTERS = string.ascii_letters + string.digits
LENGTH = 40
USED_EVERY = timedelta(minutes=1)


def digest(text: str) -> str:
    """How a token is stored: the SHA-256 of its text, in hex. Tokens are random, so no salt is needed."""
    return hashlib.sha256(text.encode()).hexdigest()


def create_token(user: User, name: str, role: str = AccessToken.Role.READ) -> tuple[AccessToken, str]:
    """Make a token. Its text is returned here and can never be read again."""
    text = PREFIX + "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
    token = AccessToken.objects.create(user=user, name=name[:100], role=AccessToken.Role(role), digest=digest(text))
    return token, text


def find_token(text: str) -> AccessToken | None:
    """The token with this text, its user loaded; None when there is none or its owner may not act any more."""
    if not text.startswith(PREFIX) or len(text) > 200:
        return None
    token = AccessToken.objects.select_related("user__namespace").filter(digest=digest(text)).first()
    if token is None or not token.user.is_active or token.user.namespace.is_suspended:
        return None
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > USED_EVERY:
        AccessToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token


def user_for_token(text: str) -> User | None:
    """Whose token this is; None when it is nobody's."""
    token = find_token(text)
    return token.user if token else None
