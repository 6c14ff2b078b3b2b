"""Celery's side of Spaces: each task calls one service."""

from __future__ import annotations

from celery import shared_task

from apps.spaces import domains


@shared_task
def recheck_domains() -> None:
    domains.recheck_domains()
