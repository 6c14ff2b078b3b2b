"""Celery's side of builds: each task calls one service."""

from __future__ import annotations

from typing import Any

import structlog
from celery import shared_task
from celery.signals import worker_ready

from apps.builds import bundles, installer, services
from apps.spaces import uploads

log = structlog.get_logger(__name__)


@shared_task
def run_build(build_id: int) -> None:
    services.run_build(build_id)


@shared_task
def requeue_lost_builds() -> None:
    for build_id in services.lost_builds():
        services.run_build(build_id)


@shared_task
def fetch_bundle(version: str) -> None:
    try:
        bundles.fetch(version)
    except installer.InstallError as error:
        log.warning("Gradio's own page could not be had", version=version, error=str(error))


@shared_task
def delete_files(space_id: int, repository: str, deployments: list[int]) -> None:
    services.delete_files(space_id, repository, deployments)


@shared_task
def sweep() -> None:
    services.sweep()
    uploads.discard_stale()


@worker_ready.connect
def take_up_lost_builds(**kwargs: Any) -> None:
    """A task worker that starts looks for what its predecessor left, first of all on its own machine."""
    installer.sweep_groups()
    requeue_lost_builds.delay()
