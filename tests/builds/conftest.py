from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apps.accounts.models import User
from apps.repos.store import Add, Delete, Operation
from apps.spaces import services
from apps.spaces.commits import commit_files
from apps.spaces.models import Space
from tests.running_portal import shared_uv_cache


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada", "ada@example.org", "a-good-long-password")


@pytest.fixture
def space(ada: User) -> Space:
    return services.create_space(ada.namespace, "demo", user=ada, sdk="python")


@pytest.fixture(autouse=True)
def data(settings: Any, tmp_path: Path) -> Path:
    """A data folder of its own, with the cache of packages that all tests share."""
    settings.PORTICO_DATA = tmp_path / "data"
    settings.PORTICO_UV_CACHE = shared_uv_cache()
    return tmp_path / "data"


def commit(space: Space, files: dict[str, str], delete: tuple[str, ...] = ()) -> str:
    operations: list[Operation] = [Add(path, text.encode()) for path, text in files.items()]
    operations += [Delete(path) for path in delete]
    return commit_files(space, operations, user=space.created_by, message="Change")
