"""Websockets of Spaces."""

from __future__ import annotations

from django.urls import path

from apps.spaces.consumers import SpaceConsumer

websocket_urlpatterns = [path("ws/spaces/<str:owner>/<str:name>/", SpaceConsumer.as_asgi())]
