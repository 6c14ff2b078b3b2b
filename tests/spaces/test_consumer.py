"""The websocket of a Space's page."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser

from apps.accounts.models import User
from apps.spaces import services
from apps.spaces.consumers import GONE, NOT_FOUND, SpaceConsumer
from apps.spaces.logs import LogWriter
from apps.spaces.models import Space, Stage
from apps.spaces.stages import set_stage

pytestmark = pytest.mark.django_db(transaction=True)


def talk(space: Space, user: Any) -> WebsocketCommunicator:
    communicator = WebsocketCommunicator(SpaceConsumer.as_asgi(), f"/ws/spaces/{space.slug}/")
    communicator.scope["url_route"] = {"kwargs": {"owner": space.owner.name, "name": space.name}}
    communicator.scope["user"] = user
    return communicator


@pytest.fixture
def made(transactional_db: None) -> tuple[Space, User]:
    ada = User.objects.create_user("ada", "ada@example.org", "a-good-long-password")
    return services.create_space(ada.namespace, "demo", user=ada), ada


async def test_the_stage_comes_at_once_and_at_every_change(made: tuple[Space, User]) -> None:
    space, _ = made
    socket = talk(space, AnonymousUser())
    await socket.connect()
    assert (await socket.receive_json_from())["stage"] == "NO_APP_FILE"
    await sync_to_async(set_stage)(space.pk, Stage.BUILD_ERROR, "secret path /x")
    told = await socket.receive_json_from()
    assert (told["type"], told["stage"], told["message"]) == ("stage", "BUILD_ERROR", "")
    await socket.disconnect()


async def test_a_private_space_closes_as_if_it_were_not_there(made: tuple[Space, User]) -> None:
    space, _ = made
    await sync_to_async(services.set_visibility)(space, "private")
    socket = talk(space, AnonymousUser())
    await socket.connect()
    assert (await socket.receive_output())["code"] == NOT_FOUND


async def test_a_space_made_private_or_deleted_closes_what_is_open(made: tuple[Space, User]) -> None:
    space, ada = made
    stranger, owner = talk(space, AnonymousUser()), talk(space, ada)
    for socket in (stranger, owner):
        await socket.connect()
        await socket.receive_json_from()
    await sync_to_async(services.set_visibility)(space, "private")
    await sync_to_async(set_stage)(space.pk, Stage.BUILDING)
    assert (await stranger.receive_output())["code"] == NOT_FOUND
    await owner.receive_json_from()
    await sync_to_async(services.delete_space)(space)
    assert await owner.receive_json_from() == {"type": "deleted"}
    assert (await owner.receive_output())["code"] == GONE


async def test_the_owner_gets_history_then_what_is_appended_once(made: tuple[Space, User]) -> None:
    space, ada = made
    writer = LogWriter(space.pk, "run", fresh=True)
    start = writer.offset
    await writer.awrite(b"before\n")
    socket = talk(space, ada)
    await socket.connect()
    await socket.receive_json_from()
    await socket.send_json_to({"subscribe": "logs", "run": start, "build": 0})
    first = await socket.receive_json_from()
    assert (first["text"], first["offset"]) == ("before\n", start)
    await writer.awrite(b"after\n")
    second = await socket.receive_json_from()
    assert (second["text"], second["offset"]) == ("after\n", first["end"])
    await socket.disconnect()

    again = talk(space, ada)
    await again.connect()
    await again.receive_json_from()
    await again.send_json_to({"subscribe": "logs", "run": first["end"]})
    assert (await again.receive_json_from())["text"] == "after\n"
    assert await again.receive_nothing()
    await again.disconnect()


async def test_only_the_owner_reads_logs(made: tuple[Space, User]) -> None:
    space, _ = made
    await LogWriter(space.pk, "run", fresh=True).awrite(b"private\n")
    socket = talk(space, AnonymousUser())
    await socket.connect()
    await socket.receive_json_from()
    await socket.send_json_to({"subscribe": "logs"})
    assert (await socket.receive_json_from())["type"] == "refused"
    await LogWriter(space.pk, "run").awrite(b"more\n")
    assert await socket.receive_nothing()
    await socket.disconnect()


@pytest.mark.parametrize("message", [[], "x", {"subscribe": "logs", "run": "zzz"}, {"subscribe": {"a": 1}}, 7])
async def test_nonsense_is_ignored(made: tuple[Space, User], message: Any) -> None:
    space, _ = made
    socket = talk(space, AnonymousUser())
    await socket.connect()
    await socket.receive_json_from()
    await socket.send_json_to(message)
    await socket.receive_nothing()
    await sync_to_async(set_stage)(space.pk, Stage.BUILDING)
    assert (await socket.receive_json_from())["type"] in {"stage", "refused"}
    await socket.disconnect()
