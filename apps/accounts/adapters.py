"""What allauth asks the portal."""

from __future__ import annotations

import re
import secrets
import unicodedata
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from apps.accounts.addresses import client_address
from apps.accounts.models import Namespace
from apps.accounts.validators import validate_namespace_name

NAME_LENGTH = 39
SUFFIX_LENGTH = 6


def _valid_name(text: str) -> str | None:
    """The nearest valid name to `text`, or None when nothing of it can be kept."""
    ascii_text = unicodedata.normalize("NFKD", text.partition("@")[0]).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", ascii_text)
    name = re.sub(r"-{2,}", "-", re.sub(r"\.{2,}", ".", name))[:NAME_LENGTH].strip("._-")
    try:
        validate_namespace_name(name)
    except ValidationError:
        return None
    return name


def free_name(*wishes: str | None) -> str:
    """A valid name that nobody has: the first wish that can be met, else the first with a number behind it."""
    names = [name for wish in wishes if wish and (name := _valid_name(wish))] or ["person"]
    numbered = [f"{names[0][: NAME_LENGTH - 3]}-{number}" for number in range(2, 100)]
    for name in [*names, *numbered]:
        if not Namespace.objects.filter(name__iexact=name).exists():
            return name
    return f"{names[0][: NAME_LENGTH - 2 * SUFFIX_LENGTH - 1]}-{secrets.token_hex(SUFFIX_LENGTH)}"


class AccountAdapter(DefaultAccountAdapter):
    """A username is the name of a Namespace, with its rules; addresses come from trusted proxies alone."""

    def clean_username(self, username: str, shallow: bool = False) -> str:
        if len(username) > NAME_LENGTH:
            raise ValidationError(f"Use at most {NAME_LENGTH} characters.", code="malformed")
        validate_namespace_name(username)
        if not shallow and Namespace.objects.filter(name__iexact=username).exists():
            raise ValidationError(f"The name “{username}” is taken.", code="taken")
        return username

    def generate_unique_username(self, txts: list[str | None], regex: str | None = None) -> str:
        return free_name(*txts)

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request)


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    """Nobody gets into an existing account because a provider names its e-mail address."""

    def can_authenticate_by_email(self, login: Any, email: str) -> bool:
        return False

    def get_signup_form_initial_data(self, sociallogin: Any) -> dict[str, Any]:
        initial: dict[str, Any] = super().get_signup_form_initial_data(sociallogin)
        return initial | {"username": free_name(initial.get("username"), initial.get("email"))}
