"""What was used of late, within a bound of memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

ENTRY_BYTES = 1024
"""What an entry counts beside its content: key, headers, the objects themselves."""


class Recent(Generic[K, V]):
    """A mapping that forgets what was used the longest time ago.

    Not thread-safe. A value that is larger than all the room is kept until another comes, so that whoever asks for it
    again and again finds it.

    Args:
        max_bytes: the room for all values.
        size: bytes of a value's content, which must not change while it is kept.
    """

    def __init__(self, max_bytes: int, size: Callable[[V], int]) -> None:
        self._max_bytes, self._size = max_bytes, size
        self._known: OrderedDict[K, V] = OrderedDict()
        self.bytes = 0

    def __contains__(self, key: K) -> bool:
        return key in self._known

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: K) -> V | None:
        """The value, which counts as used by that; None where there is none."""
        if key not in self._known:
            return None
        self._known.move_to_end(key)
        return self._known[key]

    def put(self, key: K, value: V) -> None:
        """Keep a value, in the place of a former one."""
        if key in self._known:
            self.bytes -= self._cost(self._known.pop(key))
        self._known[key] = value
        self.bytes += self._cost(value)
        while self.bytes > self._max_bytes and len(self._known) > 1:
            self.bytes -= self._cost(self._known.popitem(last=False)[1])

    def _cost(self, value: V) -> int:
        return self._size(value) + ENTRY_BYTES
