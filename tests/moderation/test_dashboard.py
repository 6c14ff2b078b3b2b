from __future__ import annotations

from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.test import Client

from apps.accounts.models import User
from apps.moderation import services
from apps.moderation.consumers import NOT_FOUND, QueueConsumer
from apps.moderation.models import AuditEntry, Report
from apps.spaces import events
from apps.spaces.models import Space
from tests.patient_socket import PatientSocket


def test_nobody_but_moderators_finds_these_rooms(client: Client, report: Report, ada: User) -> None:
    paths = ["/moderation/", "/moderation/queue", "/moderation/log", f"/moderation/reports/{report.pk}"]
    for _ in ("stranger", "ada"):
        for path in [*paths, f"/moderation/reports/{report.pk}/take_down"]:
            assert client.get(path).status_code == client.post(path, {"reason": "x"}).status_code == 404, path
        client.force_login(ada)
    assert not AuditEntry.objects.exists()


def test_the_queue_shows_open_reports_and_what_was_written_as_text(
    client: Client, space: Space, mona: User, root: User
) -> None:
    services.report_space(space, reporter=None, category="malware", text="<script>alert(1)</script>")
    for person in (mona, root):
        client.force_login(person)
        page = client.get("/moderation/").content.decode()
        assert "ada/demo" in page and "&lt;script&gt;alert" in page and "<script>alert" not in page


def test_an_act_asks_for_a_reason_first_and_then_happens_once(
    client: Client, report: Report, space: Space, mona: User
) -> None:
    client.force_login(mona)
    address = f"/moderation/reports/{report.pk}/take_down"
    assert "Its page, its host" in client.get(address).content.decode()
    assert "This field is required" in client.post(address, {"reason": " "}).content.decode()
    assert client.post(address, {"reason": "It mines coins."}).status_code == 302
    client.post(address, {"reason": "twice"})
    assert AuditEntry.objects.count() == 1
    space.refresh_from_db()
    assert space.is_withheld
    look = client.get(f"/moderation/reports/{report.pk}").content.decode()
    assert "It mines coins." in look and "Restore" in look and "/take_down" not in look
    assert "ada/demo" not in client.get("/moderation/queue").content.decode()
    assert "ada/demo" in client.get("/moderation/queue?show=handled").content.decode()
    assert "It mines coins." in client.get("/moderation/log?target=ada").content.decode()
    assert "It mines coins." not in client.get("/moderation/log?target=bob").content.decode()


def test_an_act_needs_the_forms_own_token(report: Report, mona: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(mona)
    assert client.post(f"/moderation/reports/{report.pk}/ban", {"reason": "x"}).status_code == 403


def test_nonsense_verbs_lead_back(client: Client, report: Report, mona: User) -> None:
    client.force_login(mona)
    assert client.post(f"/moderation/reports/{report.pk}/delete", {"reason": "x"}).status_code == 302
    assert client.get("/moderation/reports/999999").status_code == 404
    assert not AuditEntry.objects.exists()


async def _connect(user: Any) -> PatientSocket:
    socket = PatientSocket(QueueConsumer.as_asgi(), "/ws/moderation/")
    socket.scope["user"] = user
    assert (await socket.connect())[0]
    return socket


@pytest.mark.django_db(transaction=True)
@pytest.mark.asyncio
async def test_the_socket_tells_moderators_and_nobody_else() -> None:
    mona = await database_sync_to_async(User.objects.create_user)("mona", is_moderator=True)
    ada = await database_sync_to_async(User.objects.create_user)("ada")
    for stranger in (AnonymousUser(), ada):
        socket = await _connect(stranger)
        assert (await socket.receive_output())["code"] == NOT_FOUND
    socket = await _connect(mona)
    assert await socket.receive_json_from() == {"type": "ready"}
    await events.push(services.GROUP, {"type": "report.changed", "report": 7})
    assert await socket.receive_json_from() == {"type": "report.changed", "report": 7}
    await User.objects.filter(pk=mona.pk).aupdate(is_moderator=False)
    await events.push(services.GROUP, {"type": "report.changed", "report": 8})
    assert (await socket.receive_output())["code"] == NOT_FOUND
