"""Celery's side of the gateway: each task calls one service."""

from __future__ import annotations

import asyncio

from asgiref.sync import async_to_sync
from celery import shared_task

from apps.gateway import takes
from apps.gateway.assets import Store


@shared_task
def take_snapshot(space_id: int) -> None:
    async_to_sync(_take)(space_id)


async def _take(space_id: int) -> None:
    await asyncio.sleep(takes.SETTLE_SECONDS)
    await takes.take_of(space_id)


@shared_task
def sweep_assets() -> None:
    Store().sweep()
