from __future__ import annotations

from django.apps import AppConfig


class BuildsConfig(AppConfig):
    name = "apps.builds"

    def ready(self) -> None:
        from apps.builds import receivers  # noqa: F401
