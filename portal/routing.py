"""Websockets of the portal."""

from __future__ import annotations

from apps.moderation import routing as moderation

websocket_urlpatterns: list = [*moderation.websocket_urlpatterns]
