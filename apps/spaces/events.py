"""What happens to a Space, pushed to whoever watches: the pages over websockets and the gateway's routes.

Two channel-layer groups: `space.<id>` for one Space's pages, `routes` for every gateway process.
Messages are hints: whoever missed one reads the database.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

ROUTES_GROUP = "routes"


def space_group(space_id: int) -> str:
    return f"space.{space_id}"


async def push(group: str, message: dict[str, Any]) -> None:
    """Send `message` to a group now. `message["type"]` names the consumer's handler (dots become underscores)."""
    layer = get_channel_layer()
    assert layer is not None
    await layer.group_send(group, message)


def push_on_commit(group: str, message: dict[str, Any]) -> None:
    """Send `message` once the surrounding transaction has committed, so that whoever hears it can read it."""
    transaction.on_commit(lambda: async_to_sync(push)(group, message))


def route_changed(space_id: int) -> None:
    """Tell every gateway to read the Space's route anew, once the surrounding transaction has committed."""
    push_on_commit(ROUTES_GROUP, {"type": "route.changed", "space": space_id})


def access_changed(space_id: int) -> None:
    """Tell the gateways, and every open page of the Space, that who may see it, or where, has changed."""
    route_changed(space_id)
    push_on_commit(space_group(space_id), {"type": "access.changed"})
