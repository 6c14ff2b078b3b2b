"""What keeps a Space awake that nobody is connected to: `Keeper.is_working`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from apps.runtime.agent import keeper
from apps.runtime.agent.keeper import Keeper


@pytest.mark.parametrize(
    ("used", "waited", "is_working"),
    [(0.0, 0.0, False), (1.0, 0.0, True), (0.0, 1.0, True), (1.0, -5.0, True), (0.0, -5.0, False)],
    ids=["idle", "computing", "on a busy machine", "threads ended", "threads ended, idle"],
)
def test_what_uses_or_wants_a_processor_works(
    used: float, waited: float, is_working: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.0)
    found = {"cpu": 10.0, "waiting": 10.0}
    spawner = SimpleNamespace(usage=lambda: {"cpu_seconds": found["cpu"]}, waiting_seconds=lambda: found["waiting"])
    one = Keeper(1, cast(Any, None), {}, cast(Any, None))
    one.serving.append(cast(Any, SimpleNamespace(spawner=spawner)))
    assert one.is_working(), "not known yet"
    found["cpu"] += used
    found["waiting"] += waited
    assert one.is_working() is is_working
