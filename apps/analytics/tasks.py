from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from apps.analytics import services


@shared_task
def prune() -> None:
    services.prune(timezone.now().date())
