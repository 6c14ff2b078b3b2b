from __future__ import annotations

import pytest

from tests.running_agent import RunningAgent


@pytest.fixture
def agent(shared_agent: RunningAgent) -> RunningAgent:
    return shared_agent
