"""Answers in Brotli and gzip (RFC 7932, RFC 1952)."""

from __future__ import annotations

import asyncio
import gzip

import brotli

BR, GZIP = b"br", b"gzip"
QUICK, THOROUGH, OF_LARGE = 5, 11, 9
"""Qualities of Brotli. The last is for files above a MiB, which would take many seconds."""
ON_THE_LOOP_BYTES = 64 * 1024
"""Up to this size an answer is compressed at once; a larger one in a thread."""


def compress(content: bytes, coding: bytes, *, thoroughly: bool = False) -> bytes:
    """`content` in `br` or `gzip`."""
    if coding == GZIP:
        return gzip.compress(content, mtime=0)
    quality = QUICK if not thoroughly else THOROUGH if len(content) <= 1024**2 else OF_LARGE
    return bytes(brotli.compress(content, mode=brotli.MODE_TEXT, quality=quality))


async def compressed(content: bytes, coding: bytes) -> bytes:
    """The same beside the loop, if it takes long; `content` itself for no coding."""
    if not coding:
        return content
    if len(content) <= ON_THE_LOOP_BYTES:
        return compress(content, coding)
    return await asyncio.to_thread(compress, content, coding)
