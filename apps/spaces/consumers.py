"""A Space's life over a websocket: its stage for everyone who may see it, its logs for its owner."""

from __future__ import annotations

from typing import Any, cast

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import AnonymousUser

from apps.accounts.models import User
from apps.spaces.events import space_group
from apps.spaces.logs import Kind, read_log
from apps.spaces.models import Space
from apps.spaces.selectors import can_write, get_space

NOT_FOUND = 4404
GONE = 4410
PIECE_BYTES = 64 * 1024
HISTORY_BYTES = 512 * 1024
KINDS: tuple[Kind, ...] = ("run", "build")


class SpaceConsumer(AsyncJsonWebsocketConsumer):
    """`/ws/spaces/<owner>/<name>/`.

    Sends `{"type": "stage", stage, label, message}` at once and at every change. On `{"subscribe": "logs", "run":
    <offset>, "build": <offset>}` from somebody who may change the Space it sends `{"type": "log", kind, offset, end,
    text}` from those offsets on, then whatever is appended, without gap and without repeating itself. Closes with 4404
    when the Space is not there for this person, 4410 when it is gone.
    """

    space: Space
    sent: dict[str, int]

    async def connect(self) -> None:
        self.sent = {}
        found = await self._find()
        await self.accept()
        if found is None:
            await self.close(NOT_FOUND)
            return
        self.space = found
        await self.channel_layer.group_add(space_group(found.pk), self.channel_name)
        await self._send_stage()

    async def disconnect(self, code: int) -> None:
        if hasattr(self, "space"):
            await self.channel_layer.group_discard(space_group(self.space.pk), self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if not isinstance(content, dict) or content.get("subscribe") != "logs" or not hasattr(self, "space"):
            return
        if not can_write(self._user(), self.space):
            await self.send_json({"type": "refused", "message": "Only its owner may read the logs."})
            return
        for kind in KINDS:
            offset = content.get(kind, 0)
            self.sent[kind] = offset if isinstance(offset, int) and offset >= 0 else 0
            await self._catch_up(kind, newest=True)

    async def stage_changed(self, event: dict[str, Any]) -> None:
        found = await self._find()
        if found is None or found.pk != self.space.pk:
            await self.close(NOT_FOUND)
            return
        self.space = found
        await self._send_stage()

    async def log_appended(self, event: dict[str, Any]) -> None:
        if event["kind"] in self.sent:
            await self._catch_up(event["kind"])

    async def space_deleted(self, event: dict[str, Any]) -> None:
        await self.send_json({"type": "deleted"})
        await self.close(GONE)

    async def _catch_up(self, kind: Kind, *, newest: bool = False) -> None:
        """Send what the log has beyond what was sent. The file is the truth; messages only say that it grew."""
        start, data, end = read_log(self.space.pk, kind, self.sent[kind])
        if newest and len(data) > HISTORY_BYTES:
            start, data = end - HISTORY_BYTES, data[-HISTORY_BYTES:]
        for at in range(0, len(data), PIECE_BYTES):
            piece = data[at : at + PIECE_BYTES]
            await self.send_json(
                {
                    "type": "log",
                    "kind": kind,
                    "offset": start + at,
                    "end": start + at + len(piece),
                    "text": piece.decode(errors="replace"),
                }
            )
        self.sent[kind] = end

    async def _send_stage(self) -> None:
        message = self.space.stage_message if can_write(self._user(), self.space) else ""
        label = self.space.get_stage_display()
        await self.send_json({"type": "stage", "stage": self.space.stage, "label": label, "message": message})

    def _user(self) -> User | AnonymousUser:
        return cast("User | AnonymousUser", self.scope["user"])

    async def _find(self) -> Space | None:
        found: Space | None = await database_sync_to_async(self._read)()
        return found

    def _read(self) -> Space | None:
        names = self.scope["url_route"]["kwargs"]
        user = self._user()
        if user.is_authenticated:
            user = (
                User.objects.select_related("namespace").filter(pk=user.pk, is_active=True).first() or AnonymousUser()
            )
        try:
            return get_space(f"{names['owner']}/{names['name']}", user)
        except Space.DoesNotExist:
            return None
