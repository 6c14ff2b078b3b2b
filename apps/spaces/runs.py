"""How a Space runs: a question of its pages that the runtime, a floor above, answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from apps.spaces.models import Space


@dataclass(frozen=True)
class RunFacts:
    """What is known of a Space's newest worker, of the others beside it and of what it keeps.

    Attributes:
        started_at: None when it never had a worker.
        is_running: whether that worker runs or starts.
        way: how it was started, for its owner; empty when that is not known.
        given: `plan` and limits that it was started with; empty when that is not known.
        replicas: how many of its workers answer, of those that `given` grants.
        storage_used_bytes: what is kept at `/data`; None when it never had storage.
        storage_measured_at: when that was so.
        storage_is_being_emptied: whether its owner asked for that, and it is not done yet.
    """

    started_at: datetime | None = None
    is_running: bool = False
    way: str = ""
    given: Mapping[str, object] = field(default_factory=dict)
    replicas: int = 0
    storage_used_bytes: int | None = None
    storage_measured_at: datetime | None = None
    storage_is_being_emptied: bool = False


def _unknown(space: Space) -> RunFacts:
    return RunFacts()


_provider: Callable[[Space], RunFacts] = _unknown


def set_run_facts(provider: Callable[[Space], RunFacts]) -> None:
    """Say who knows. Called once, when Django starts, by whoever runs Spaces."""
    global _provider
    _provider = provider


def run_facts(space: Space) -> RunFacts:
    return _provider(space)
