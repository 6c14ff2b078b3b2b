"""Signatures of functions that libraries define, worked out once for all workers.

Gradio asks `inspect` for the signature of a component's `__init__` whenever it makes one and whenever it describes one,
and FastAPI for that of every route. The outcome depends on a function's code, annotations and defaults alone, and
nobody can change a `Signature`: what was found in the zygote is handed out again where these are the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from operator import is_
from types import FunctionType
from typing import Any


class Known:
    """Stands in front of `inspect`'s own from `install` on; learns until `learned` is called."""

    def __init__(self, find: Callable[..., Any]) -> None:
        self._find = find
        self._found: dict[Any, tuple[tuple[Any, ...], Any]] = {}
        self._is_learning = True

    @classmethod
    def install(cls) -> Known | None:
        """None where `inspect` is not as it was when this was written."""
        find = getattr(inspect, "_signature_from_callable", None)
        if type(find) is not FunctionType:
            return None
        known = cls(find)
        inspect._signature_from_callable = known.get  # type: ignore[attr-defined]
        return known

    def learned(self) -> None:
        self._is_learning = False

    def get(self, obj: Any, **options: Any) -> Any:
        """As `inspect._signature_from_callable`."""
        if type(obj) is not FunctionType:
            return self._find(obj, **options)
        # A function that stands for another (`__wrapped__`) or says its own signature is known as itself alone.
        key = (obj if obj.__dict__ else obj.__code__, *options.values())
        try:
            known = self._found.get(key)
        except TypeError:  # an option that is a dictionary
            return self._find(obj, **options)
        if known is not None and _same(known[0], _parts(obj)):
            return known[1]
        signature = self._find(obj, **options)
        if self._is_learning:
            self._found[key] = _parts(obj), signature
        return signature


def _parts(function: FunctionType) -> tuple[Any, ...]:
    """All that its signature is made of, and that can be replaced."""
    told = function.__dict__
    within = told.get("__wrapped__")
    return (
        (function.__code__, function.__globals__, told.get("__signature__")),
        function.__defaults__ or (),
        dict(function.__kwdefaults__ or {}),
        dict(function.__annotations__),
        _parts(within) if type(within) is FunctionType else (within,),
    )


def _same(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> bool:
    """Whether two functions consist of the very same objects."""
    if len(ours) != len(theirs):
        return False
    if len(ours) == 1:
        return ours[0] is theirs[0]
    return (
        all(map(is_, ours[0], theirs[0]))
        and len(ours[1]) == len(theirs[1])
        and all(map(is_, ours[1], theirs[1]))
        and _same_named(ours[2], theirs[2])
        and _same_named(ours[3], theirs[3])
        and _same(ours[4], theirs[4])
    )


def _same_named(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    if ours.keys() != theirs.keys():
        return False
    # Annotations of nested functions are texts, of which each function may have its own.
    return all(
        v is theirs[k] or (type(v) is str and type(theirs[k]) is str and v == theirs[k]) for k, v in ours.items()
    )
