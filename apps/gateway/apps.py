from __future__ import annotations

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    name = "apps.gateway"

    def ready(self) -> None:
        from apps.gateway import receivers  # noqa: F401
        from apps.gateway.access import frame_url
        from apps.gateway.downloads import accelerated
        from apps.gateway.takes import drawn_facts
        from apps.spaces.downloads import set_accelerated
        from apps.spaces.drawn import set_drawn_facts
        from apps.spaces.hosts import set_frame_url

        set_frame_url(frame_url)
        set_accelerated(accelerated)
        set_drawn_facts(drawn_facts)
