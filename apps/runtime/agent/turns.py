"""Who may start next: a few starts at a time, and of those who wait each owner in turn.

A burst of wakes for one owner's Spaces then holds up nobody else: another owner's Space waits for the starts that are
under way, not for those that wait.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

HOLD_SECONDS = 5.0
"""A start that takes longer gives its turn away: what it waits for then is not this machine's processors."""


class Turn:
    """The right to start something now, until `end` or for `HOLD_SECONDS`."""

    def __init__(self, turns: Turns) -> None:
        self._turns: Turns | None = turns
        self._timer = asyncio.get_running_loop().call_later(HOLD_SECONDS, self.end)

    def end(self) -> None:
        self._timer.cancel()
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.give_back()


class Turns:
    """At most `at_once` turns at a time.

    Attributes:
        waiting: how many wait now.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._queues: OrderedDict[int, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    async def take(self, owner: int) -> Turn:
        """Wait for this owner's turn."""
        if self._free > 0:
            self._free -= 1
        else:
            called = asyncio.get_running_loop().create_future()
            self._queues.setdefault(owner, deque()).append(called)
            try:
                await called
            except asyncio.CancelledError:
                if called.done() and not called.cancelled():
                    self.give_back()
                raise
        return Turn(self)

    def give_back(self) -> None:
        """One is free: it goes to the owner whose last turn was longest ago."""
        while self._queues:
            owner, queue = self._queues.popitem(last=False)
            called = queue.popleft()
            if queue:
                self._queues[owner] = queue
            if not called.done():
                called.set_result(None)
                return
        self._free += 1
