"""Whether a Space's page is drawn before its worker is awake: a question that the gateway, a floor above, answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from apps.spaces.models import Space


@dataclass(frozen=True)
class DrawnFacts:
    """What is known of a Space's snapshot.

    Attributes:
        taken_at: when one was taken last, or was tried; None when it never was.
        refusal: why there is none, for the Space's owner; empty where there is one.
    """

    taken_at: datetime | None = None
    refusal: str = ""


def _unknown(space: Space) -> DrawnFacts:
    return DrawnFacts()


_provider: Callable[[Space], DrawnFacts] = _unknown


def set_drawn_facts(provider: Callable[[Space], DrawnFacts]) -> None:
    """Say who knows. Called once, when Django starts, by whoever serves Spaces."""
    global _provider
    _provider = provider


def drawn_facts(space: Space) -> DrawnFacts:
    return _provider(space)
