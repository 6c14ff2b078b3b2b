"""Websockets of the demos' API."""

from __future__ import annotations

import re

from django.urls import path

from apps.embed.consumers import RunConsumer

RUN = re.compile(r"/ws/spaces/[^/]+/[^/]+/run")
websocket_urlpatterns = [path("ws/spaces/<str:owner>/<str:name>/run", RunConsumer.as_asgi())]


def looks_at_origins(path: str) -> bool:
    """Whether the websocket of this address decides itself which sites' pages may open it."""
    return RUN.fullmatch(path) is not None
