"""Life-cycle commands, carried to the agent away from the web process. They wait for an agent that is restarting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asgiref.sync import async_to_sync
from celery import shared_task

from apps.runtime import client, services
from apps.spaces.logs import delete_logs
from apps.spaces.models import Stage

PATIENCE: dict[str, Any] = {
    "autoretry_for": (client.AgentUnavailable,),
    "retry_backoff": 1,
    "retry_backoff_max": 30,
    "max_retries": 20,
}


@shared_task(**PATIENCE)
def start_worker(space_id: int, before: Sequence[str]) -> None:
    """Start the Space's current deployment; a worker that runs already serves until the new one answers.

    The agent looks for Spaces to start by itself, and visitors wake them. What one of these has started since this was
    asked for is not started again: people may be using it already, and a successor knows nothing of their sessions.

    Args:
        space_id: the Space.
        before: the ids of the workers that were alive when this was asked for.
    """
    if services.has_started(space_id, before):
        return
    try:
        async_to_sync(client.restart_worker)(space_id)
    except client.StartRefused as refused:
        if refused.stage != Stage.RUNTIME_ERROR:
            services.settle(space_id)


@shared_task(**PATIENCE)
def stop_worker(space_id: int) -> None:
    """End the Space's worker, unless a visitor has woken the Space since this was asked for."""
    if not services.was_woken(space_id):
        async_to_sync(client.stop_worker)(space_id)


@shared_task(**PATIENCE)
def empty_storage(space_id: int) -> None:
    """Delete what the Space keeps. An agent that misses this does it by itself (`daemon.Agent._reconcile`)."""
    async_to_sync(client.empty_storage)(space_id)


@shared_task(**PATIENCE)
def clear_deleted_space(space_id: int) -> None:
    """End the worker of a Space that is gone, then forget what it kept and printed."""
    async_to_sync(client.stop_worker)(space_id)
    async_to_sync(client.clear_storage)()
    delete_logs(space_id)
