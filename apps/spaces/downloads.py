"""Whether a server in front sends a repository's file in our place: the gateway, a floor above, answers that."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest

from apps.spaces.models import Space

Accelerated = Callable[[HttpRequest, Space, str, str, int], str | None]


def _never(request: HttpRequest, space: Space, revision: str, path: str, size: int) -> str | None:
    return None


_provider: Accelerated = _never


def set_accelerated(provider: Accelerated) -> None:
    """Say who knows. Called once, when Django starts, by whoever serves Spaces."""
    global _provider
    _provider = provider


def accelerated(request: HttpRequest, space: Space, revision: str, path: str, size: int) -> str | None:
    """What `X-Accel-Redirect` is to say, None when the bytes are to come from here.

    Args:
        request: a GET; its headers say whether the server in front can.
        space: one that the visitor may see.
        revision: a commit, as its hash.
        path: the file's within the repository, where it was found.
        size: in bytes, as the repository has it.
    """
    return _provider(request, space, revision, path, size)
