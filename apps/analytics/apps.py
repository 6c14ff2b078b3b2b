from __future__ import annotations

from django.apps import AppConfig


class AnalyticsConfig(AppConfig):
    name = "apps.analytics"

    def ready(self) -> None:
        from apps.analytics.services import add
        from apps.gateway.usage import set_keeper

        set_keeper(add)
