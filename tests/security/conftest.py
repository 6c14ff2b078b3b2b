from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.running_agent import RunningAgent, shared


@pytest.fixture(scope="module")
def one_agent(django_db_setup: None) -> Iterator[RunningAgent]:
    with RunningAgent() as running:
        yield running


@pytest.fixture
def agent(one_agent: RunningAgent, transactional_db: None) -> Iterator[RunningAgent]:
    """One agent for the whole file; what a test started is ended with it."""
    with shared(one_agent):
        yield one_agent
