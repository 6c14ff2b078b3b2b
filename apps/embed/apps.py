from __future__ import annotations

from django.apps import AppConfig


class EmbedConfig(AppConfig):
    name = "apps.embed"
