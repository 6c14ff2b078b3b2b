from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache

from apps.accounts.models import User
from apps.moderation import services
from apps.moderation.models import Report
from apps.spaces.models import Space
from apps.spaces.services import create_space
from apps.spaces.signals import lifecycle_requested


@pytest.fixture(autouse=True)
def fresh_rate_limits() -> None:
    cache.clear()


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada", "ada@example.org", "a-good-long-password")


@pytest.fixture
def mona(db: None) -> User:
    return User.objects.create_user("mona", "mona@example.org", "a-good-long-password", is_moderator=True)


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root-person", "root@example.org", "a-good-long-password")


@pytest.fixture
def space(ada: User) -> Space:
    return create_space(ada.namespace, "demo", user=ada)


@pytest.fixture
def report(space: Space) -> Report:
    return services.report_space(space, reporter=None, category="malware", text="It mines coins.")


@pytest.fixture
def asked() -> Any:
    """What was asked of the runtime: (Space, verb)."""
    seen: list[tuple[str, str]] = []

    def remember(sender: Any, space: Space, verb: str, **kwargs: Any) -> None:
        seen.append((space.slug, verb))

    lifecycle_requested.connect(remember)
    yield seen
    lifecycle_requested.disconnect(remember)
