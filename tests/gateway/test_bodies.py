"""A request's body on its way to the app."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from apps.gateway import bodies
from apps.gateway.bodies import Body, BodyTooLarge


class Sender:
    """What ASGI's `receive` says, and how often it was asked at once."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.asking = self.most_asking = 0
        for message in messages:
            self.messages.put_nowait(message)

    async def __call__(self) -> Any:
        self.asking += 1
        self.most_asking = max(self.most_asking, self.asking)
        try:
            return await self.messages.get()
        finally:
            self.asking -= 1


def piece(content: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": content, "more_body": more}


def body_of(sender: Sender, limit: int = 100) -> Body:
    return Body(sender, limit, asyncio.get_running_loop())


async def test_a_body_in_one_piece_is_there_at_once_and_takes_no_task() -> None:
    body = body_of(Sender(piece(b"all of it")))
    tasks = asyncio.all_tasks()
    assert await body.at_once() == b"all of it"
    assert (body.received, body.begun, asyncio.all_tasks()) == (9, False, tasks)
    body.stop()


async def test_one_in_pieces_is_read_as_it_comes_from_its_first_byte() -> None:
    body = body_of(Sender(piece(b"one,", more=True), piece(b"two,", more=True), piece(b"three")))
    assert await body.at_once() is None
    assert b"".join([chunk async for chunk in body.chunks()]) == b"one,two,three"
    assert (body.received, body.begun) == (13, True)
    body.stop()


async def test_one_that_is_being_read_is_not_waited_for() -> None:
    body = body_of(Sender(piece(b"peeked at")))
    assert await body.peek(1) == b"peeked at"
    assert await body.at_once() is None
    assert [chunk async for chunk in body.chunks()] == [b"peeked at"]
    body.stop()


async def test_one_that_is_too_large_is_refused_at_once() -> None:
    body = body_of(Sender(piece(b"12345")), limit=4)
    with pytest.raises(BodyTooLarge):
        await body.at_once()
    body.stop()


async def test_whoever_goes_away_before_the_body_has_come_is_noticed() -> None:
    reached = []

    async def serve() -> None:
        body = body_of(Sender({"type": "http.disconnect"}))
        try:
            await body.at_once()
            reached.append("the app")
        finally:
            reached.append(body.gone)
            body.stop()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(serve())
    assert reached == [True]


async def test_nobody_else_asks_while_the_body_is_awaited_and_then_the_client_is_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "WATCH_AFTER_SECONDS", 0.01)
    sender = Sender()
    seen = []

    async def serve() -> None:
        body = body_of(sender)
        try:
            seen.append(await body.at_once())
            await asyncio.sleep(30)
        finally:
            seen.append(body.gone)
            body.stop()

    serving = asyncio.create_task(serve())
    await asyncio.sleep(0.1)
    assert sender.most_asking == 1
    sender.messages.put_nowait(piece(b"late"))
    await asyncio.sleep(0.1)
    sender.messages.put_nowait({"type": "http.disconnect"})
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert (seen, sender.most_asking) == ([b"late", True], 1)
