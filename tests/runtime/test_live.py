"""One worker in the agent's hands."""

from __future__ import annotations

import asyncio
import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from apps.runtime import services
from apps.runtime.agent.live import Live


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []
    monkeypatch.setattr(services, "worker_stopping", lambda *args: done.append("stopping"))
    monkeypatch.setattr(services, "worker_ended", lambda worker, space, reason: done.append(reason))
    return done


@pytest.mark.django_db(transaction=True)  # the connection that its thread may still hold is looked at
async def test_whoever_is_cancelled_while_a_worker_ends_waits_until_it_is_gone(steps: list[str]) -> None:
    """Else a pause during a failing start would leave a process that nobody knows."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def stop(grace_seconds: float) -> None:
        asked.set()
        await gone.wait()
        steps.append("stopped")

    async def finish(last_word: str) -> None:
        steps.append("printed")

    plan: Any = SimpleNamespace(spec=SimpleNamespace(worker_id=uuid.uuid4(), space_id=1))
    spawner: Any = SimpleNamespace(stop=stop)
    output: Any = SimpleNamespace(finish=finish)
    live = Live(plan, spawner, output, 7860)
    workers: dict[Any, Live] = {plan.spec.worker_id: live}
    ending = asyncio.create_task(live.end(workers, "It crashed."))
    await asyncio.wait_for(asked.wait(), 10)
    assert live.ending and not workers
    for _ in range(3):
        ending.cancel()
        await asyncio.sleep(0)
        assert not ending.done()
    again = asyncio.create_task(live.end(workers, "It was told to stop."))
    gone.set()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert steps == ["stopping", "stopped", "printed", "It crashed."]
    await again
    assert steps.count("stopped") == 1
