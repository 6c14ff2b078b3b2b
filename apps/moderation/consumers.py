"""The moderators' queue, live."""

from __future__ import annotations

from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from apps.accounts.models import User
from apps.moderation.services import GROUP

NOT_FOUND = 4404


class QueueConsumer(AsyncJsonWebsocketConsumer):
    """Tells a moderator's page which report changed; the page asks for the queue anew."""

    groups: list[str] = []

    async def connect(self) -> None:
        await self.accept()
        if not await self._may_moderate():
            await self.close(NOT_FOUND)
            return
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.send_json({"type": "ready"})

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(GROUP, self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Nothing is asked over this socket."""

    async def report_changed(self, event: dict[str, Any]) -> None:
        if await self._may_moderate():
            await self.send_json({"type": "report.changed", "report": event["report"]})
        else:
            await self.close(NOT_FOUND)

    async def _may_moderate(self) -> bool:
        user = self.scope["user"]
        return user.is_authenticated and await database_sync_to_async(_can_moderate)(user.pk)


def _can_moderate(user_id: int) -> bool:
    user = User.objects.filter(pk=user_id).first()
    return user is not None and user.can_moderate
