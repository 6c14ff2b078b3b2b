"""A Space's life over a websocket: its stage for everyone who may see it, its logs for its owner."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any, cast

from channels.auth import get_user
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings
from django.contrib.auth.models import AnonymousUser

from apps.accounts.models import User
from apps.spaces.events import space_group
from apps.spaces.logs import Kind, read_log, text_of
from apps.spaces.models import Space
from apps.spaces.selectors import get_space, owns, readable_by

NOT_FOUND = 4404
GONE = 4410
PIECE_BYTES = 64 * 1024
HISTORY_BYTES = 512 * 1024
KINDS: tuple[Kind, ...] = ("run", "build")
Person = User | AnonymousUser


async def person_now(scope: dict[str, Any]) -> Person:
    """Who is at the other end of a websocket now: the session may have ended since it opened."""
    session = import_module(settings.SESSION_ENGINE).SessionStore(scope["session"].session_key)
    return cast(Person, await get_user({"session": session}))


class SpaceConsumer(AsyncJsonWebsocketConsumer):
    """`/ws/spaces/<owner>/<name>/`.

    Sends `{"type": "stage", stage, label, message}` at once and at every change, and `{"type": "moved", slug}` after
    a rename. On `{"subscribe": "logs", "run": <offset>, "build": <offset>}` from somebody who may change the Space it
    sends `{"type": "log", kind, offset, end, text}` from those offsets on, then whatever is appended, without gap and
    without repeating itself. Rights are those of now, at every message: closes with 4404 when the Space is not there
    for this person (any more), 4410 when it is gone.
    """

    space: Space
    sent: dict[Kind, int]

    async def connect(self) -> None:
        self.sent = {}
        person = await person_now(self.scope)
        names = self.scope["url_route"]["kwargs"]
        await self.accept()
        try:
            self.space = await database_sync_to_async(get_space)(f"{names['owner']}/{names['name']}", person)
        except Space.DoesNotExist:
            await self.close(NOT_FOUND)
            return
        await self.channel_layer.group_add(space_group(self.space.pk), self.channel_name)
        await self._send_stage(person)

    async def disconnect(self, code: int) -> None:
        if hasattr(self, "space"):
            await self.channel_layer.group_discard(space_group(self.space.pk), self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if not isinstance(content, dict) or content.get("subscribe") != "logs" or not hasattr(self, "space"):
            return
        person = await self._look_again()
        if person is None:
            return
        if not owns(person, self.space):
            await self.send_json({"type": "refused", "message": "Only its owner may read the logs."})
            return
        for kind in KINDS:
            offset = content.get(kind, 0)
            self.sent[kind] = offset if isinstance(offset, int) and offset >= 0 else 0
            await self._catch_up(kind)

    async def stage_changed(self, event: dict[str, Any]) -> None:
        if (person := await self._look_again()) is not None:
            await self._send_stage(person)

    async def access_changed(self, event: dict[str, Any]) -> None:
        slug = self.space.slug
        if await self._look_again() is not None and self.space.slug != slug:
            await self.send_json({"type": "moved", "slug": self.space.slug})

    async def log_appended(self, event: dict[str, Any]) -> None:
        kind: Kind = event["kind"]
        if self.sent.get(kind, event["end"]) >= event["end"]:
            return
        person = await self._look_again()
        if person is None:
            return
        if owns(person, self.space):
            await self._catch_up(kind)
        else:
            self.sent.clear()

    async def space_deleted(self, event: dict[str, Any]) -> None:
        await self.send_json({"type": "deleted"})
        await self.close(GONE)

    async def _catch_up(self, kind: Kind) -> None:
        """Send what the log has beyond what was sent. The file is the truth; messages only say that it grew."""
        at, data, _ = await asyncio.to_thread(read_log, self.space.pk, kind, self.sent[kind], HISTORY_BYTES)
        while data:
            text, length = text_of(data[:PIECE_BYTES])
            if not length:
                break
            await self.send_json({"type": "log", "kind": kind, "offset": at, "end": at + length, "text": text})
            at, data = at + length, data[length:]
        self.sent[kind] = at

    async def _send_stage(self, person: Person) -> None:
        message = self.space.stage_message if owns(person, self.space) else ""
        label = self.space.get_stage_display()
        await self.send_json({"type": "stage", "stage": self.space.stage, "label": label, "message": message})

    async def _look_again(self) -> Person | None:
        """Read the Space anew. None, and the socket closed, when it is not there for this person any more."""
        person = await person_now(self.scope)
        space = await database_sync_to_async(readable_by(person).filter(pk=self.space.pk).first)()
        if space is None:
            await self.close(NOT_FOUND)
            return None
        self.space = space
        return person
