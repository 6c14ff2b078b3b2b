from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.running_agent import RunningAgent


@pytest.fixture
def agent(lent_agent: Callable[..., RunningAgent]) -> RunningAgent:
    return lent_agent()
