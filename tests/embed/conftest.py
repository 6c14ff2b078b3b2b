from __future__ import annotations

import pytest

from apps.accounts.models import User
from apps.spaces.models import Space
from apps.spaces.services import create_space


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada", "ada@example.org", "correct-horse-battery")


@pytest.fixture
def space(ada: User) -> Space:
    """A public Gradio Space, `ada/hello`."""
    space = create_space(ada.namespace, "hello", user=ada)
    Space.objects.filter(pk=space.pk).update(title="Hello & <friends>", stage="RUNNING")
    space.refresh_from_db()
    return space
