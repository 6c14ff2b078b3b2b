"""Password hashing for tests: Django's default takes half a second for each account by design, most tests make one, and
what it writes with few iterations every portal can still check."""

from __future__ import annotations

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class QuickHasher(PBKDF2PasswordHasher):
    iterations = 1
