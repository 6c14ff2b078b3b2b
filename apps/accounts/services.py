"""Verbs that change people and what they may do."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from apps.accounts.models import AccessToken, Namespace, User
from apps.accounts.validators import validate_namespace_name


@transaction.atomic
def ensure_admin(name: str, password: str) -> User | None:
    """Create the first administrator. Does nothing, and returns None, when that name is taken.

    Raises:
        django.core.exceptions.ValidationError: the name cannot be one.
    """
    if Namespace.objects.filter(name__iexact=name).exists():
        return None
    validate_namespace_name(name)
    return User.objects.create_superuser(name, "", password)


def _setup_file() -> Path:
    return settings.PORTICO_DATA / "keys" / "setup_token"


def setup_token() -> str | None:
    """The token of the one-time set-up address, the same until it is used; None once there is an administrator."""
    if User.objects.filter(is_superuser=True).exists():
        with contextlib.suppress(FileNotFoundError):
            _setup_file().unlink()
        return None
    path = _setup_file()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text()


@transaction.atomic
def set_up(name: str, email: str, password: str) -> User:
    """Create the first administrator at the set-up address, whose token ends with it.

    Raises:
        django.core.exceptions.ValidationError: the name cannot be one.
        django.core.exceptions.PermissionDenied: there is an administrator already.
    """
    if User.objects.select_for_update().filter(is_superuser=True).exists():
        raise PermissionDenied
    validate_namespace_name(name)
    user = User.objects.create_superuser(name, email, password)
    EmailAddress.objects.create(user=user, email=user.email, primary=True)
    transaction.on_commit(setup_token)
    return user


def is_setup_token(text: str) -> bool:
    """Whether `text` is the token of the set-up address, still unused."""
    token = setup_token()
    return token is not None and constant_time_compare(token, text)


@transaction.atomic
def suspend(namespace: Namespace) -> None:
    """Shut a namespace out: its person cannot sign in, sessions and tokens end, its Spaces are withheld."""
    namespace.suspended_at = timezone.now()
    namespace.save(update_fields=["suspended_at"])
    User.objects.filter(namespace=namespace).update(is_active=False)
    AccessToken.objects.filter(user__namespace=namespace).delete()
    for session in UserSession.objects.filter(user__namespace=namespace):
        session.end()


@transaction.atomic
def reinstate(namespace: Namespace) -> None:
    """Undo `suspend`; tokens have to be made anew."""
    namespace.suspended_at = None
    namespace.save(update_fields=["suspended_at"])
    User.objects.filter(namespace=namespace).update(is_active=True)
