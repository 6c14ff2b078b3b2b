"""Websockets of the portal."""

from __future__ import annotations

websocket_urlpatterns: list = []
