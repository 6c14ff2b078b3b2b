"""Secrets at rest: Fernet (AES-128-CBC with HMAC-SHA256), keys from settings, the first encrypts."""

from __future__ import annotations

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


def _fernet() -> MultiFernet:
    keys = (hashlib.sha256(key.encode()).digest() for key in settings.PORTICO_ENCRYPTION_KEYS)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])


def encrypt(text: str) -> bytes:
    return _fernet().encrypt(text.encode())


def decrypt(token: bytes) -> str:
    """Return the text.

    Raises:
        ValueError: none of the configured keys made this token.
    """
    try:
        return _fernet().decrypt(bytes(token)).decode()
    except InvalidToken as error:
        raise ValueError("no configured key decrypts this secret") from error
