"""Who must not notice an attack: another Space, the agent, and the portal's pages."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from typing import Self

from django.db import connection
from django.test import Client

from apps.runtime import client
from apps.spaces.models import Stage
from tests.running_agent import ensure, fetch, sleeping_space

ANSWERS_FIRST = 15
STILL_ANSWERS = 15.0
"""Seconds within which everybody must have answered: not their speed, only that nothing has come to a stand."""
HARM = 15
"""So many times as slow as right before, at the median, a neighbour is harmed. On two processors, shared with others,
1 to 4.4 were seen: an attacker may have one of them, and starts workers."""


UNNOTICED = 0.05
"""Seconds that nobody notices, however quick the neighbour was before: a machine may have become busy by others."""


class Neighbour:
    """Another Space, asked again and again, and the agent and the portal with it, while the `with` block lasts.

    Args:
        shares_processors: whether what attacks is held to a share of this machine's processors. If not, the neighbour
            and the others must answer, however slowly.
    """

    def __init__(self, *, shares_processors: bool = True) -> None:
        self._shares_processors = shares_processors
        self._over = threading.Event()
        self._failed: list[BaseException] = []
        self._slowest = 0.0
        self._during: list[float] = []

    def __enter__(self) -> Self:
        self._space = sleeping_space()
        self._worker = ensure(self._space)
        self._address = f"/api/spaces/{self._space.slug}/runtime"
        self._ask_others()  # what is imported at a first request is imported now
        self._before = [self._ask() for _ in range(ANSWERS_FIRST)]
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        try:
            while True:
                began = time.monotonic()
                self._during.append(self._ask())
                self._ask_others()
                self._slowest = max(self._slowest, time.monotonic() - began)
                if self._over.wait(0.02):
                    return
        except BaseException as error:
            self._failed.append(error)
        finally:
            connection.close()

    def _ask(self) -> float:
        began = time.monotonic()
        assert fetch(self._worker) == "hello"
        return time.monotonic() - began

    def _ask_others(self) -> None:
        asyncio.run(client.agent_status())
        answer = Client().get(self._address)
        assert (answer.status_code, answer.json()["stage"]) == (200, Stage.RUNNING)

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        if kind is not None:
            return
        assert not self._failed, self._failed
        assert self._during
        if self._shares_processors:
            assert self._slowest < STILL_ANSWERS
            before, during = statistics.median(self._before), statistics.median(self._during)
            assert during < max(HARM * before, UNNOTICED), (before, during)
