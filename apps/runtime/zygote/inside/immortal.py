"""Makes what a zygote holds immortal (PEP 683), so that its children do not copy memory by only looking at it.

CPython counts references within the objects themselves. A child that calls a function or reads a constant writes to
the page that holds it, and the kernel copies that page: most of what a worker copies was never changed otherwise. An
immortal object's count is left alone.

Such an object is never freed, which is right for what was imported: the zygote holds it for as long as it lives.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from types import CodeType
from typing import Any

VERSIONS = ((3, 12), (3, 13))
"""Interpreters whose object header is known here: a count in the first four bytes, all ones for an immortal object
(Include/object.h)."""
COUNT = 0xFFFFFFFF
STRING_STATE = 32
INTERNED, INTERNED_MORTAL = 3, 1
"""Where a string says how it is interned, and of that the bits and the value for a string that leaves the table of
interned strings with its last reference (Include/cpython/unicodeobject.h): its count is settled when Python ends."""


def is_possible() -> bool:
    """Whether this interpreter is one whose objects can be made immortal."""
    known = sys.version_info[:2] in VERSIONS and sys.implementation.name == "cpython"
    wide = sys.maxsize > 2**32 and sys.byteorder == "little" and not hasattr(sys, "gettotalrefcount")
    return known and wide and ctypes.c_uint32.from_address(id(None)).value == COUNT


def everything() -> int:
    """Make all objects immortal that the garbage collector knows, and what they refer to. Returns how many."""
    memory = memoryview((ctypes.c_char * (1 << 47)).from_address(0)).cast("B").cast("I")
    made = 0
    pending: list[Any] = gc.get_objects()
    while pending:
        thing = pending.pop()
        place = id(thing) >> 2
        if memory[place] == COUNT and not gc.is_tracked(thing):
            continue
        memory[place] = COUNT
        made += 1
        for other in (*gc.get_referents(thing), *_hidden(thing)):
            if memory[id(other) >> 2] != COUNT and not gc.is_tracked(other) and not _leaves_table(other, memory):
                pending.append(other)
    return made


def _hidden(thing: Any) -> tuple[Any, ...]:
    """What the collector is not told of: code holds constants and names that it reads all the time."""
    if isinstance(thing, CodeType):
        return (
            thing.co_consts, thing.co_names, thing.co_filename, thing.co_name, thing.co_qualname,
            thing.co_linetable, thing.co_exceptiontable,
        )  # fmt: skip
    return ()


def _leaves_table(thing: Any, memory: memoryview) -> bool:
    return type(thing) is str and memory[(id(thing) + STRING_STATE) >> 2] & INTERNED == INTERNED_MORTAL
