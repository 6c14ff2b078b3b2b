"""Websockets of the portal."""

from __future__ import annotations

from apps.embed import routing as embed
from apps.moderation import routing as moderation
from apps.spaces import routing as spaces

websocket_urlpatterns: list = [
    *spaces.websocket_urlpatterns,
    *moderation.websocket_urlpatterns,
    *embed.websocket_urlpatterns,
]
