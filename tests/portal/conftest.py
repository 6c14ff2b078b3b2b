from __future__ import annotations

import pytest

from apps.accounts.models import User
from apps.spaces import services
from apps.spaces.models import Space


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada", "ada@example.org", "a-good-long-password")


@pytest.fixture
def space(ada: User) -> Space:
    return services.create_space(ada.namespace, "demo", user=ada)
