"""A burst of wakes: each owner in turn."""

from __future__ import annotations

import asyncio

import pytest

from apps.runtime.agent import turns as module
from apps.runtime.agent.turns import Turns


async def started(turns: Turns, order: list[str], owner: int, name: str) -> None:
    turn = await turns.take(owner)
    order.append(name)
    await asyncio.sleep(0)
    turn.end()


async def test_one_owners_burst_does_not_hold_up_another_owner() -> None:
    turns, order = Turns(1), []  # type: ignore[var-annotated]
    first = await turns.take(1)
    burst = [asyncio.create_task(started(turns, order, 1, f"burst {n}")) for n in range(5)]
    await asyncio.sleep(0)
    other = [asyncio.create_task(started(turns, order, owner, f"owner {owner}")) for owner in (2, 3)]
    await asyncio.sleep(0)
    assert turns.waiting == 7
    first.end()
    await asyncio.gather(*burst, *other)
    assert order == ["burst 0", "owner 2", "owner 3", "burst 1", "burst 2", "burst 3", "burst 4"]


async def test_no_more_than_so_many_start_at_once_and_none_is_lost() -> None:
    turns = Turns(3)
    now = most = 0

    async def start(owner: int) -> None:
        nonlocal now, most
        turn = await turns.take(owner)
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        turn.end()
        turn.end()

    await asyncio.gather(*(start(n % 4) for n in range(40)))
    assert most == 3
    assert [await asyncio.wait_for(turns.take(9), 1) for _ in range(3)]


async def test_a_start_that_is_given_up_while_it_waits_takes_no_turn() -> None:
    turns = Turns(1)
    held = await turns.take(1)
    given_up = asyncio.create_task(turns.take(2))
    called_and_given_up = asyncio.create_task(turns.take(3))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.sleep(0)
    held.end()
    called_and_given_up.cancel()
    await asyncio.gather(given_up, called_and_given_up, return_exceptions=True)
    assert await asyncio.wait_for(turns.take(4), 1)


async def test_an_app_that_never_answers_does_not_keep_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HOLD_SECONDS", 0.01)
    turns = Turns(1)
    await turns.take(1)
    assert await asyncio.wait_for(turns.take(2), 5)
