from __future__ import annotations

from django.urls import path

from apps.moderation.consumers import QueueConsumer

websocket_urlpatterns = [path("ws/moderation/", QueueConsumer.as_asgi())]
