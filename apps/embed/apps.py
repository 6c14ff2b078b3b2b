from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class EmbedConfig(AppConfig):
    name = "apps.embed"

    def ready(self) -> None:
        from apps.embed.script import keep

        post_migrate.connect(keep, sender=self)
