"""Celery's side of the gateway."""

from __future__ import annotations

from celery import shared_task

from apps.gateway.assets import Store


@shared_task
def sweep_assets() -> None:
    Store().sweep()
