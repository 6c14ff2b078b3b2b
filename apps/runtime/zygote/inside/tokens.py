"""Secrets that libraries make for themselves while they are imported: every worker gets its own.

Gradio's `WRITE_TOKEN`, for one, is `secrets.token_urlsafe(32)` at the top of a module. Made once in a zygote it would
be the same in all its workers, and each Space could read what guards another one. So what `secrets` and `os.urandom`
gave during the imports is remembered, and what of it is a module's or a class's own value is made anew in each child.
So is the state of each `random.Random` that was made then without a seed of its own.
"""

from __future__ import annotations

import functools
import os
import random
import secrets
import sys
import weakref
from collections.abc import Callable
from typing import Any

_SOURCES = ((secrets, "token_bytes"), (secrets, "token_hex"), (secrets, "token_urlsafe"), (os, "urandom"))
_made: dict[str | bytes, Callable[[], Any]] = {}
_generators: weakref.WeakSet[random.Random] = weakref.WeakSet()
_places: list[tuple[Any, str, Callable[[], Any]]] = []


def watch() -> Callable[[], None]:
    """Remember what is made from now on. Returns how to stop, which also finds where it is kept."""
    originals = [(module, name, getattr(module, name)) for module, name in _SOURCES]
    is_watching = True

    def wrap(make: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(make)
        def remembering(*arguments: Any, **options: Any) -> Any:
            value = make(*arguments, **options)
            if is_watching:
                _made[value] = functools.partial(make, *arguments, **options)
            return value

        return remembering

    seed = random.Random.seed

    @functools.wraps(seed)
    def remembering_seed(generator: random.Random, a: Any = None, version: int = 2) -> None:
        (_generators.add if a is None else _generators.discard)(generator)
        seed(generator, a, version)

    def stop() -> None:
        nonlocal is_watching
        is_watching = False
        random.Random.seed = seed
        for module, name, original in originals:
            setattr(module, name, original)
        _find()

    for module, name, original in originals:
        setattr(module, name, wrap(original))
    random.Random.seed = remembering_seed
    return stop


def _find() -> None:
    for module in list(sys.modules.values()):
        for holder in [module, *(v for v in _values(module) if isinstance(v, type))]:
            for name, value in list(_members(holder)):
                if type(value) in (str, bytes) and value in _made:
                    _places.append((holder, name, _made[value]))
    _made.clear()


def _members(holder: Any) -> list[tuple[str, Any]]:
    return list(getattr(holder, "__dict__", {}).items())


def _values(holder: Any) -> list[Any]:
    return [value for _, value in _members(holder)]


def renew() -> None:
    """Make each anew, in a child. A value that is held in several places stays one value."""
    made: dict[int, Any] = {}
    for holder, name, make in _places:
        setattr(holder, name, made.setdefault(id(make), make()))
    for generator in _generators:
        generator.seed()
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        process.current_process().authkey = os.urandom(32)
