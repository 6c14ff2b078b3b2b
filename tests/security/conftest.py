from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.running_agent import RunningAgent


@pytest.fixture
def agent(transactional_db: None) -> Iterator[RunningAgent]:
    """An agent on this test's database, ended before the database is emptied."""
    with RunningAgent() as running:
        yield running
