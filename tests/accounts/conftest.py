from __future__ import annotations

import pytest
from django.core.cache import cache

from apps.accounts.models import User

PASSWORD = "a-good-long-password"


@pytest.fixture(autouse=True)
def fresh_rate_limits() -> None:
    cache.clear()


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada", "ada@example.org", PASSWORD)
