"""From a visit to sleep, with a real agent and real sandboxes."""

from __future__ import annotations

import pytest

from apps.runtime.models import Worker
from apps.spaces.models import Stage
from tests.running_agent import RunningAgent, ensure, fetch, sleeping_space, stage_of

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


def test_a_visit_wakes_a_sleeping_space(agent: RunningAgent) -> None:
    space = sleeping_space()
    worker = ensure(space)
    assert fetch(worker) == "hello"
    assert stage_of(space) == Stage.RUNNING
    row = Worker.objects.get(pk=worker.id)
    assert (row.state, row.port, row.node_id) == (Worker.State.READY, 7860, "local")
