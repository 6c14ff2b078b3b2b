from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.running_agent import RunningAgent, shared
from tests.world import World, a_world


@pytest.fixture
def agent(agent_of_file: RunningAgent, transactional_db: None) -> Iterator[RunningAgent]:
    """The agent that a file has for all of its tests; what a test started is ended with it."""
    with shared(agent_of_file):
        yield agent_of_file


@pytest.fixture(scope="module")
def agent_is(request: pytest.FixtureRequest) -> str:
    """Of files with `EVERY_WAY`: `root` or `ordinary`, whose agent it is."""
    return str(request.param)


@pytest.fixture(scope="module")
def way(request: pytest.FixtureRequest) -> str:
    """Of files with `EVERY_WAY`: how workers are started."""
    return str(request.param)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Of a file: this machine and others, as network namespaces."""
    with a_world() as made:
        yield made
