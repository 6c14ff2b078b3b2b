"""Sizes and times as people write and read them."""

from __future__ import annotations

import re

_SIZES = {"": 1, "B": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_TIMES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LARGEST = 2**62


def parse_size(text: str) -> int:
    """Bytes of `512 MiB`, `1.5G`, `2 GB` (all powers of 1024) or a plain number.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    size = float(found[1]) * _SIZES[found[2].upper()] if found else -1.0
    if not 0 <= size < _LARGEST:
        raise ValueError("Write a size as 512 MiB or 2 GiB.")
    return int(size)


def size(bytes: int) -> str:
    """`512 MiB`, `1.5 GiB`: rounded to a tenth."""
    for unit, factor in (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if bytes >= factor:
            return f"{round(bytes / factor, 1):g} {unit}"
    return f"{bytes} bytes"


def parse_time(text: str) -> int:
    """Seconds of `15m`, `2 h`, `1 day`, `90 seconds`, `never` (0) or a plain number.

    Raises:
        ValueError: it is none, or longer than a year.
    """
    if text.strip().lower() == "never":
        return 0
    wanted = text.strip().lower()
    found = re.fullmatch(r"(\d{1,9})\s*([smhdw]?)(?:ecs?|econds?|ins?|inutes?|ours?|ays?|eeks?)?", wanted)
    seconds = int(found[1]) * _TIMES[found[2] or "s"] if found else -1
    if not 0 <= seconds <= 366 * 86400:
        raise ValueError("Write a time as 15 minutes, 2 hours or 1 day, or never.")
    return seconds


def time(seconds: int) -> str:
    """`15 minutes`, `1 day`, `never` for 0: in the largest unit that is exact."""
    if seconds == 0:
        return "never"
    for unit, factor in (("week", 604800), ("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds % factor == 0:
            count = seconds // factor
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"
