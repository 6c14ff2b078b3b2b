"""Runs a script or module as the interpreter does when it is named on its command line."""

from __future__ import annotations

import builtins
import importlib.machinery
import io
import os
import random
import runpy
import sys
import types
from typing import Any

import tokens

_own_modules: list[str] = []


def run(argv: list[str]) -> None:
    """Be `argv[0] argv[1:]`, where `argv[0]` is the interpreter. Ends as it would: by returning, or by an exception
    that the interpreter then prints or, for SystemExit, heeds."""
    _fresh_randomness()
    _leave_no_module()
    sys.orig_argv = list(argv)
    _standard_streams()
    sys.excepthook = _hook
    if argv[1] == "-m":
        sys.argv = [argv[2], *argv[3:]]
        sys.path[0] = os.getcwd()
        runpy.run_module(argv[2], run_name="__main__", alter_sys=True)
        return
    script = argv[1]
    sys.argv = list(argv[1:])
    path = os.path.abspath(script)
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    module = types.ModuleType("__main__")
    module.__dict__.update(
        __file__=path,
        __builtins__=builtins,
        __cached__=None,
        __loader__=importlib.machinery.SourceFileLoader("__main__", path),
        __spec__=None,
        __package__=None,
    )
    sys.modules["__main__"] = module
    with open(path, "rb") as file:
        source = file.read()
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102


def _fresh_randomness() -> None:
    """Every child of a zygote would otherwise draw the same numbers. `random` and OpenSSL do this by themselves."""
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    tokens.renew()


def note_own_modules() -> None:
    """Find, once for all children, the modules that are ours and not the app's: a look at each module copies memory."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # theirs, and the sandbox's beside them
    for name, module in list(sys.modules.items()):
        if name != "__main__" and (getattr(module, "__file__", None) or "").startswith(here):
            _own_modules.append(name)


def _leave_no_module() -> None:
    """The app may have modules of the same names as these programs."""
    for name in _own_modules:
        del sys.modules[name]


def _standard_streams() -> None:
    """Of the descriptors as they are now, unbuffered as PYTHONUNBUFFERED says."""
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)
    raw = io.FileIO(1, "w", closefd=False)
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    raw = io.FileIO(2, "w", closefd=False)
    sys.stderr = sys.__stderr__ = io.TextIOWrapper(
        raw, encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=True
    )


def _hook(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    """The traceback begins with the demo's own code."""
    here = os.path.dirname(__file__)
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith((here, "<frozen runpy>")):
        traceback = traceback.tb_next
    sys.__excepthook__(kind, error.with_traceback(traceback), traceback)
