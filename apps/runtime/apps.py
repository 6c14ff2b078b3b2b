from __future__ import annotations

from django.apps import AppConfig


class RuntimeConfig(AppConfig):
    name = "apps.runtime"

    def ready(self) -> None:
        from apps.runtime import receivers  # noqa: F401
        from apps.runtime.selectors import run_facts
        from apps.spaces.runs import set_run_facts

        set_run_facts(run_facts)
