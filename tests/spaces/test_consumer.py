"""The websocket of a Space's page."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from django.db import transaction
from django.test import Client

from apps.accounts.models import User
from apps.accounts.services import suspend
from apps.builds.services import BuildLog
from apps.spaces import events, services
from apps.spaces.consumers import GONE, HISTORY_BYTES, NOT_FOUND
from apps.spaces.logs import LogWriter
from apps.spaces.models import Space, Stage
from apps.spaces.stages import set_stage
from portal.routing import websocket_urlpatterns
from tests.patient_socket import PatientSocket

pytestmark = pytest.mark.django_db(transaction=True)


def talk(space: Space, user: Any = None, client: Client | None = None) -> PatientSocket:
    """A socket of somebody who signed in as `user`, or of whoever `client` is."""
    if client is None:
        client = Client()
        if user is not None:
            client.force_login(user)
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    headers = [(b"cookie", cookies.encode())] if cookies else []
    return PatientSocket(
        AuthMiddlewareStack(URLRouter(websocket_urlpatterns)), f"/ws/spaces/{space.slug}/", headers=headers
    )


@pytest.fixture
def made(transactional_db: None) -> tuple[Space, User]:
    ada = User.objects.create_user("ada", "ada@example.org", "a-good-long-password")
    return services.create_space(ada.namespace, "demo", user=ada), ada


async def test_the_stage_comes_at_once_and_at_every_change(made: tuple[Space, User]) -> None:
    space, _ = made
    socket = await sync_to_async(talk)(space)
    await socket.connect()
    assert (await socket.receive_json_from())["stage"] == "NO_APP_FILE"
    await sync_to_async(set_stage)(space.pk, Stage.BUILD_ERROR, "secret path /x")
    told = await socket.receive_json_from()
    assert (told["type"], told["stage"], told["message"]) == ("stage", "BUILD_ERROR", "")
    await socket.disconnect()


async def test_a_change_that_is_undone_leaves_no_row_and_is_pushed_to_nobody(
    made: tuple[Space, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    space, _ = made
    socket = await sync_to_async(talk)(space)
    await socket.connect()
    await socket.receive_json_from()
    changes = await space.stage_changes.acount()

    def break_afterwards() -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            assert set_stage(space.pk, Stage.BUILD_ERROR)
            raise ZeroDivisionError

    def break_within() -> None:
        with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
            patch.setattr(events, "route_changed", lambda space_id: 1 / 0)
            set_stage(space.pk, Stage.BUILD_ERROR)

    for undone in (break_afterwards, break_within):
        await sync_to_async(undone)()
        await space.arefresh_from_db()
        assert (space.stage, await space.stage_changes.acount()) == (Stage.NO_APP_FILE, changes)
    assert await socket.receive_nothing()
    await sync_to_async(set_stage)(space.pk, Stage.BUILDING)
    assert (await socket.receive_json_from())["stage"] == "BUILDING"
    assert await space.stage_changes.acount() == changes + 1
    await socket.disconnect()


async def test_a_private_space_closes_as_if_it_were_not_there(made: tuple[Space, User]) -> None:
    space, _ = made
    await sync_to_async(services.set_visibility)(space, "private")
    socket = await sync_to_async(talk)(space)
    await socket.connect()
    assert (await socket.receive_output())["code"] == NOT_FOUND


async def test_a_space_made_private_or_deleted_closes_what_is_open(made: tuple[Space, User]) -> None:
    space, ada = made
    stranger, owner = await sync_to_async(talk)(space), await sync_to_async(talk)(space, ada)
    for socket in (stranger, owner):
        await socket.connect()
        await socket.receive_json_from()
    await sync_to_async(services.set_visibility)(space, "private")
    assert (await stranger.receive_output())["code"] == NOT_FOUND
    assert await owner.receive_nothing()
    await sync_to_async(services.delete_space)(space)
    assert await owner.receive_json_from() == {"type": "deleted"}
    assert (await owner.receive_output())["code"] == GONE


async def test_the_owner_gets_history_then_what_is_appended_once(made: tuple[Space, User]) -> None:
    space, ada = made
    writer = LogWriter(space.pk, "run", fresh=True)
    start = writer.offset
    await writer.awrite(b"before\n")
    socket = await sync_to_async(talk)(space, ada)
    await socket.connect()
    await socket.receive_json_from()
    await socket.send_json_to({"subscribe": "logs", "run": start, "build": 0})
    first = await socket.receive_json_from()
    assert (first["text"], first["offset"]) == ("before\n", start)
    await writer.awrite(b"after\n")
    second = await socket.receive_json_from()
    assert (second["text"], second["offset"]) == ("after\n", first["end"])
    await socket.disconnect()

    again = await sync_to_async(talk)(space, ada)
    await again.connect()
    await again.receive_json_from()
    await again.send_json_to({"subscribe": "logs", "run": first["end"]})
    assert (await again.receive_json_from())["text"] == "after\n"
    assert await again.receive_nothing()
    await again.disconnect()


async def test_lines_of_a_build_come_as_they_are_said(made: tuple[Space, User]) -> None:
    space, ada = made
    build_log = await sync_to_async(BuildLog)(space.pk)
    socket = await sync_to_async(talk)(space, ada)
    await socket.connect()
    await socket.receive_json_from()
    await socket.send_json_to({"subscribe": "logs"})
    for line in ("Resolving six", "Built."):
        await sync_to_async(build_log.say)(line)
        told = await socket.receive_json_from()
        assert told["kind"] == "build" and told["text"].endswith(f" s] {line}\n")
    build_log.close()
    await socket.disconnect()


async def test_only_the_owner_reads_logs(made: tuple[Space, User]) -> None:
    space, _ = made
    await LogWriter(space.pk, "run", fresh=True).awrite(b"private\n")
    socket = await sync_to_async(talk)(space)
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
    socket = await sync_to_async(talk)(space)
    await socket.connect()
    await socket.receive_json_from()
    await socket.send_json_to(message)
    await socket.receive_nothing()
    await sync_to_async(set_stage)(space.pk, Stage.BUILDING)
    assert (await socket.receive_json_from())["type"] in {"stage", "refused"}
    await socket.disconnect()


async def test_logs_end_with_the_session(made: tuple[Space, User]) -> None:
    space, ada = made
    client = Client()
    await sync_to_async(client.force_login)(ada)
    socket = await sync_to_async(talk)(space, client=client)
    await socket.connect()
    await socket.receive_json_from()
    writer = LogWriter(space.pk, "run", fresh=True)
    await socket.send_json_to({"subscribe": "logs", "run": writer.offset})
    await writer.awrite(b"one\n")
    assert (await socket.receive_json_from())["text"] == "one\n"
    await sync_to_async(client.post)("/accounts/logout/")
    await writer.awrite(b"after the session ended\n")
    assert await socket.receive_nothing()
    await socket.disconnect()


async def test_a_banned_owner_reads_no_more(made: tuple[Space, User]) -> None:
    space, ada = made
    await sync_to_async(services.set_visibility)(space, "private")
    socket = await sync_to_async(talk)(space, ada)
    await socket.connect()
    await socket.receive_json_from()
    await sync_to_async(suspend)(ada.namespace)
    await sync_to_async(set_stage)(space.pk, Stage.STOPPED)
    assert (await socket.receive_output())["code"] == NOT_FOUND


async def test_a_character_is_never_cut_where_two_writes_meet(made: tuple[Space, User]) -> None:
    space, ada = made
    writer = LogWriter(space.pk, "run", fresh=True)
    socket = await sync_to_async(talk)(space, ada)
    await socket.connect()
    await socket.receive_json_from()
    await socket.send_json_to({"subscribe": "logs", "run": writer.offset})
    first, second = "é".encode()[:1], "é".encode()[1:]
    await writer.awrite(b"a" + first)
    assert (await socket.receive_json_from())["text"] == "a"
    await writer.awrite(second)
    assert (await socket.receive_json_from())["text"] == "é"
    await socket.disconnect()


async def test_a_long_log_comes_from_its_newest_part_on_in_whole_characters(made: tuple[Space, User]) -> None:
    space, ada = made
    writer = LogWriter(space.pk, "run", fresh=True)
    writer.write("é\n".encode() * 250_000)
    socket = await sync_to_async(talk)(space, ada)
    await socket.connect()
    await socket.receive_json_from()
    await socket.send_json_to({"subscribe": "logs"})
    text, at = "", None
    while at != writer.offset:
        piece = await socket.receive_json_from()
        assert at is None or piece["offset"] == at
        text, at = text + piece["text"], piece["end"]
    assert len(text.encode()) > HISTORY_BYTES - 4
    assert text.lstrip("\ufffd\n").replace("é\n", "") == ""
    await socket.disconnect()


async def test_a_page_stays_live_when_its_space_is_renamed(made: tuple[Space, User]) -> None:
    space, _ = made
    socket = await sync_to_async(talk)(space)
    await socket.connect()
    await socket.receive_json_from()
    await sync_to_async(services.rename_space)(space, "other")
    assert await socket.receive_json_from() == {"type": "moved", "slug": "ada/other"}
    await sync_to_async(set_stage)(space.pk, Stage.BUILDING)
    assert (await socket.receive_json_from())["stage"] == "BUILDING"
    await socket.disconnect()
