"""FastAPI's analysis of a route's function, done once for all workers.

Gradio declares its routes anew for every app, as functions within a function: each time other objects of the same
code. FastAPI derives from a function's parameters what a request must hold (`get_dependant`), which takes most of the
time in which a Gradio app starts. The outcome depends on the function's code, its annotations and its defaults alone;
what was found in the zygote is handed out again where these are the same.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

PLAIN = (str, int, float, bool, type(None))


class Known:
    """Replaces `get_dependant` between `install` and the end of the process; learns until `learned` is called."""

    def __init__(self, derive: Callable[..., Any], depends: type) -> None:
        self._derive, self._depends = derive, depends
        self._found: dict[Any, tuple[FunctionType, Any]] = {}
        self._returns: dict[CodeType, tuple[FunctionType, Any]] = {}
        self._bodies: dict[Any, tuple[list[Any], Any]] = {}
        self._models: dict[Any, tuple[dict[str, Any], Any]] = {}
        self._fields: dict[type, list[str]] = {}
        self._is_learning = True

    @classmethod
    def install(cls) -> Known | None:
        """Stand in front of FastAPI's own; None where FastAPI is not there, or not as it was when this was written."""
        utils, routing = sys.modules.get("fastapi.dependencies.utils"), sys.modules.get("fastapi.routing")
        derive, params = getattr(utils, "get_dependant", None), sys.modules.get("fastapi.params")
        if derive is None or params is None or getattr(routing, "get_dependant", None) is not derive:
            return None
        known = cls(derive, params.Depends)
        utils.get_dependant = routing.get_dependant = known.get  # type: ignore[union-attr]
        read = getattr(routing, "get_typed_return_annotation", None)
        if read is not None:
            routing.get_typed_return_annotation = lambda call: known.returned(read, call)  # type: ignore[union-attr]
        combine = getattr(routing, "_get_body_field", None)
        if combine is not None:
            routing._get_body_field = lambda **options: known.body(combine, **options)  # type: ignore[union-attr]
        describe = getattr(routing, "create_model_field", None)
        if describe is not None:
            routing.create_model_field = lambda **options: known.field(describe, **options)  # type: ignore[union-attr]
        for name in ("_is_gen_callable", "_is_async_gen_callable", "_is_coroutine_callable"):
            ask = getattr(routing, name, None)
            if ask is not None:
                setattr(routing, name, known.by_code(ask))
        return known

    def learned(self) -> None:
        self._is_learning = False

    def get(self, *, path: str, call: Any, **options: Any) -> Any:
        """As `get_dependant`, whose caller may change what it gets: each gets lists of its own."""
        key = self._key(path, call, options)
        if key is None:
            return self._derive(path=path, call=call, **options)
        if key in self._found and self._same(call, self._found[key][0]):
            again = self._again(self._found[key][1], call)
            if again is not None:
                return again
        derived = self._derive(path=path, call=call, **options)
        if self._is_learning:
            self._found[key] = call, self._copy(derived, call, list(derived.dependencies))
        return derived

    def returned(self, read: Callable[[Any], Any], call: Any) -> Any:
        """What a function is declared to return, which `read` finds out."""
        if type(call) is not FunctionType or call.__dict__:
            return read(call)
        if call.__code__ in self._returns:
            old, annotation = self._returns[call.__code__]
            ours, theirs = (f.__annotations__.get("return") for f in (call, old))
            if call.__globals__ is old.__globals__ and (ours is theirs or (type(ours) is str and ours == theirs)):
                return annotation
        annotation = read(call)
        if self._is_learning:
            self._returns[call.__code__] = call, annotation
        return annotation

    def body(self, combine: Callable[..., Any], *, body_params: list[Any], **options: Any) -> Any:
        """What describes a request's body, which `combine` makes of what describes its parts: a pydantic model each."""
        key = (*map(id, body_params), *sorted(options.items()))
        if key in self._bodies:
            return self._bodies[key][1]
        combined = combine(body_params=body_params, **options)
        if self._is_learning:
            self._bodies[key] = list(body_params), combined  # which keeps the parts, so that no other has their ids
        return combined

    def field(self, describe: Callable[..., Any], **options: Any) -> Any:
        """What `describe` makes of the type that a route answers with: a pydantic validator."""
        told, known = self._models.get(options.get("name"), ({}, None))
        # By identity: `int | str` is equal to `str | int`, which validates otherwise.
        if told.keys() == options.keys() and all(
            value is told[name] or (type(value) is str and value == told[name]) for name, value in options.items()
        ):
            return known
        described = describe(**options)
        if self._is_learning:
            self._models[options.get("name")] = options, described
        return described

    def by_code(self, ask: Callable[[Any], bool]) -> Callable[[Any], bool]:
        """`ask`, which looks at what kind of function it is given: the compiler has noted that in the code."""
        found: dict[CodeType, bool] = {}

        def answer(call: Any) -> bool:
            if type(call) is not FunctionType or call.__dict__:
                return ask(call)
            known = found.get(call.__code__)
            if known is None:
                known = ask(call)
                if self._is_learning:
                    found[call.__code__] = known
            return known

        return answer

    def _key(self, path: str, call: Any, options: dict[str, Any]) -> tuple[Any, ...] | None:
        if type(call) is not FunctionType or call.__dict__ or not isinstance(call.__code__, CodeType):
            return None
        values = tuple(sorted((name, tuple(v) if isinstance(v, list) else v) for name, v in options.items()))
        if not all(isinstance(v, (*PLAIN, tuple)) for _, v in values):
            return None
        return path, call.__code__, values

    def _same(self, new: FunctionType, old: FunctionType) -> bool:
        """Whether two functions of the same code have the same parameters."""
        if new.__globals__ is not old.__globals__ or new.__annotations__ != old.__annotations__:
            return False
        ours, theirs = _defaults(new), _defaults(old)
        return ours.keys() == theirs.keys() and all(self._equal(ours[name], theirs[name]) for name in ours)

    def _equal(self, new: Any, old: Any) -> bool:
        if type(new) is not type(old):
            return False
        if isinstance(new, PLAIN):
            return bool(new == old)
        if isinstance(new, self._depends):
            ours, theirs = dict(vars(new)), dict(vars(old))
            one, other = ours.pop("dependency", None), theirs.pop("dependency", None)
            if ours != theirs:
                return False
            if type(one) is FunctionType and type(other) is FunctionType:
                return one.__code__ is other.__code__ and self._same(one, other)
            return one is other
        # A description of a parameter (`Form()`, `File()`): these print all that they hold.
        return type(new).__module__ == "fastapi.params" and repr(new) == repr(old)

    def _again(self, found: Any, call: FunctionType) -> Any:
        """`found`, for a function whose dependencies are other objects of the same code. None where it does not say
        which."""
        depends = [d.dependency for d in _defaults(call).values() if isinstance(d, self._depends)]
        needs = []
        for need in found.dependencies:
            if type(need.call) is FunctionType and need.call.__closure__:
                given = {id(d): d for d in depends if _code(d) is need.call.__code__}
                if len(given) != 1:
                    return None
                again = self._again(need, *given.values())
                if again is None:
                    return None
                needs.append(again)
            else:
                needs.append(need)
        return self._copy(found, call, needs)

    def _copy(self, dependant: Any, call: Any, needs: list[Any]) -> Any:
        kind = type(dependant)
        if kind not in self._fields:
            self._fields[kind] = [field.name for field in dataclasses.fields(dependant) if field.init]
        values = {name: getattr(dependant, name) for name in self._fields[kind]}
        values = {name: list(value) if isinstance(value, list) else value for name, value in values.items()}
        return kind(**{**values, "call": call, "dependencies": needs})


def _code(call: Any) -> Any:
    return getattr(call, "__code__", None)


def _defaults(function: FunctionType) -> dict[str, Any]:
    code, given = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount]
    return dict(zip(names[len(names) - len(given) :], given, strict=True)) | (function.__kwdefaults__ or {})
