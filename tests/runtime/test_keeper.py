"""A keeper between the steps of what it was asked for."""

from __future__ import annotations

import asyncio

import pytest

from apps.runtime.agent.keeper import Keeper
from apps.runtime.agent.turns import Turns
from apps.runtime.errors import StartRefused
from apps.spaces.models import Stage


async def test_a_keeper_that_was_asked_for_a_start_is_not_forgotten_before_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The agent would make another one for the next visitor, and the Space would have two workers."""
    keeper = Keeper(1, lambda spec: pytest.fail("nothing is to be started"), {}, Turns(1))
    read = asyncio.Event()

    async def slow_plan(stages: object = None) -> None:
        await read.wait()
        raise StartRefused(Stage.PAUSED, "It is paused.")

    monkeypatch.setattr(keeper, "_plan", slow_plan)
    assert keeper.is_idle
    restarting = asyncio.create_task(keeper.restart())
    await asyncio.sleep(0)
    assert not keeper.is_idle
    read.set()
    with pytest.raises(StartRefused):
        await restarting
    assert keeper.is_idle
