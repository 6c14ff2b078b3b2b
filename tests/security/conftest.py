from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.running_agent import RunningAgent
from tests.world import World, a_world


@pytest.fixture
def agent(shared_agent: RunningAgent) -> RunningAgent:
    return shared_agent


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Of a file: this machine and others, as network namespaces."""
    with a_world() as made:
        yield made
