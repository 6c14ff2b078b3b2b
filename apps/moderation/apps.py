from __future__ import annotations

from django.apps import AppConfig


class ModerationConfig(AppConfig):
    name = "apps.moderation"

    def ready(self) -> None:
        from apps.moderation import receivers  # noqa: F401
