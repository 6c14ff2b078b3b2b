"""Where a Space's page finds the running demo: a question that the gateway, a floor above, answers."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import AnonymousUser

from apps.accounts.models import User
from apps.spaces.models import Space

FrameUrl = Callable[[Space, User | AnonymousUser], str]


def _plain(space: Space, user: User | AnonymousUser) -> str:
    return space.url


_provider: FrameUrl = _plain


def set_frame_url(provider: FrameUrl) -> None:
    """Say how the address for a Space's frame is made. Called once, when Django starts, by whoever serves Spaces."""
    global _provider
    _provider = provider


def frame_url(space: Space, user: User | AnonymousUser) -> str:
    """The address to show `space` under to `user` in a frame; for a private one it lets them in once."""
    return _provider(space, user)
