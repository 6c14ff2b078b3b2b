from __future__ import annotations

from typing import Any

import pytest
from django.core import mail
from django.test import Client

from apps.accounts.models import User
from apps.accounts.tokens import create_token, user_for_token
from apps.moderation import services
from apps.moderation.models import AuditEntry, Report
from apps.moderation.services import ActRefused, act
from apps.repos.store import Add
from apps.spaces import events
from apps.spaces.commits import commit_files
from apps.spaces.models import Notice, Space, Stage
from apps.spaces.services import create_space, set_visibility, withhold_space


def test_taking_down_withholds_tells_and_is_written_down(
    report: Report, space: Space, mona: User, asked: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        act(report, "take_down", moderator=mona, reason="It mines coins.")
    space.refresh_from_db()
    assert space.is_withheld and space.takedown_reason == "It mines coins." and space.stage == Stage.STOPPED
    assert ("ada/demo", "stop") in asked
    assert "It mines coins." in Notice.objects.get(namespace=space.owner).text
    assert mail.outbox[0].to == ["ada@example.org"] and "It mines coins." in str(mail.outbox[0].body)
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.verb, entry.target, entry.reason) == ("mona", "take_down", "ada/demo", "It mines coins.")
    report.refresh_from_db()
    assert (report.state, report.handled_by) == (Report.State.ACTIONED, mona)


def test_restoring_undoes_it(report: Report, space: Space, mona: User, asked: list[Any]) -> None:
    act(report, "take_down", moderator=mona, reason="wrong")
    act(report, "restore", moderator=mona, reason="It was harmless.")
    space.refresh_from_db()
    assert not space.is_withheld and space.takedown_reason == ""
    assert ("ada/demo", "settle") in asked
    assert [entry.verb for entry in AuditEntry.objects.all()] == ["restore", "take_down"]
    assert Notice.objects.count() == 2


@pytest.mark.parametrize("verb", ["pause", "ban", "unban"])
def test_the_owner_is_told_the_reason(
    report: Report, space: Space, mona: User, verb: str, django_capture_on_commit_callbacks: Any
) -> None:
    if verb == "unban":
        act(report, "ban", moderator=mona, reason="first")
        Notice.objects.all().delete()
    with django_capture_on_commit_callbacks(execute=True):
        act(report, verb, moderator=mona, reason="It mines coins.")
    notice = Notice.objects.get()
    assert notice.namespace == space.owner and "It mines coins." in notice.text
    (sent,) = mail.outbox
    assert sent.to == ["ada@example.org"] and "It mines coins." in str(sent.body)


def test_pausing_says_why_on_the_page(report: Report, space: Space, mona: User, asked: list[Any]) -> None:
    act(report, "pause", moderator=mona, reason="Too loud.")
    space.refresh_from_db()
    assert space.stage == Stage.PAUSED and "Too loud." in space.stage_message
    assert ("ada/demo", "stop") in asked


def test_a_ban_shuts_everything_of_a_person_and_unban_opens_it(
    report: Report, space: Space, ada: User, mona: User, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = create_space(ada.namespace, "other", user=ada)
    _, token = create_token(ada, "laptop")
    Space.objects.update(stage=Stage.RUNNING)
    routes: list[int] = []
    monkeypatch.setattr(events, "route_changed", routes.append)
    act(report, "ban", moderator=mona, reason="Again and again.")
    ada.refresh_from_db()
    assert not ada.is_active and ada.namespace.is_suspended
    assert user_for_token(token) is None
    assert {space.pk, other.pk} <= set(routes)
    assert {("ada/demo", "stop"), ("ada/other", "stop")} <= set(asked)
    assert set(Space.objects.values_list("stage", flat=True)) == {Stage.STOPPED}
    act(report, "unban", moderator=mona, reason="Appeal granted.")
    ada.refresh_from_db()
    ada.namespace.refresh_from_db()
    assert ada.is_active and not ada.namespace.is_suspended
    assert {("ada/demo", "settle"), ("ada/other", "settle")} <= set(asked)


READ = ("", "/tree/main", "/blob/main/app.py")


@pytest.mark.parametrize(("state", "for_others"), [("withheld", 410), ("private", 404)])
def test_moderators_look_at_what_others_do_not_see(
    space: Space, ada: User, mona: User, client: Client, state: str, for_others: int
) -> None:
    commit_files(space, [Add("app.py", b"print(1)")], user=ada, message="First")
    if state == "private":
        set_visibility(space, "private")
    else:
        withhold_space(space, "It mines coins.")
    eve = User.objects.create_user("eve")
    for person, status in ((None, for_others), (eve, for_others), (mona, 200)):
        if person is not None:
            client.force_login(person)
        assert {client.get(f"/spaces/ada/demo{path}").status_code for path in READ} == {status}, person


def test_an_unban_leaves_what_was_taken_down_withheld(report: Report, space: Space, mona: User) -> None:
    act(report, "take_down", moderator=mona, reason="a")
    act(report, "ban", moderator=mona, reason="b")
    act(report, "unban", moderator=mona, reason="c")
    space.refresh_from_db()
    assert space.is_withheld and space.stage == Stage.STOPPED


def test_dismissing_tells_the_owner_nothing(report: Report, mona: User) -> None:
    act(report, "dismiss", moderator=mona, reason="A joke.")
    report.refresh_from_db()
    assert report.state == Report.State.DISMISSED
    assert not Notice.objects.exists() and not mail.outbox
    assert AuditEntry.objects.get().verb == "dismiss"


@pytest.mark.parametrize("verb", ["pause", "take_down", "restore", "ban", "unban", "dismiss"])
def test_no_act_without_a_reason_or_the_right(report: Report, ada: User, mona: User, verb: str) -> None:
    with pytest.raises(ActRefused, match="reason"):
        act(report, verb, moderator=mona, reason="  ")
    with pytest.raises(ActRefused, match="Only moderators"):
        act(report, verb, moderator=ada, reason="I want to")
    assert not AuditEntry.objects.exists() and not Notice.objects.exists()


def _reported(owner: User) -> Report:
    return services.report_space(
        create_space(owner.namespace, "own", user=owner), reporter=None, category="spam", text=""
    )


def test_nobody_bans_themselves(mona: User, root: User) -> None:
    for person in (mona, root):
        with pytest.raises(ActRefused, match="yourself"):
            act(_reported(person), "ban", moderator=person, reason="oops")


def test_only_administrators_ban_moderators_and_administrators(mona: User, root: User) -> None:
    second = User.objects.create_user("second", is_moderator=True)
    for person in (second, root):
        with pytest.raises(ActRefused, match="administrator"):
            act(_reported(person), "ban", moderator=mona, reason="no")
    act(Report.objects.get(space_slug="second/own"), "ban", moderator=root, reason="yes")
    second.refresh_from_db()
    assert not second.is_active


def test_what_makes_no_sense_is_refused_and_changes_nothing(report: Report, mona: User) -> None:
    for verb, why in (("restore", "not taken down"), ("unban", "not banned")):
        with pytest.raises(ActRefused, match=why):
            act(report, verb, moderator=mona, reason="x")
    act(report, "take_down", moderator=mona, reason="x")
    with pytest.raises(ActRefused, match="already"):
        act(report, "take_down", moderator=mona, reason="x")
    assert AuditEntry.objects.count() == 1


def test_a_report_outlives_its_space_and_the_owner_can_still_be_banned(
    report: Report, space: Space, ada: User, mona: User
) -> None:
    space.delete()
    report.refresh_from_db()
    assert report.space is None and report.space_slug == "ada/demo"
    with pytest.raises(ActRefused, match="gone"):
        act(report, "take_down", moderator=mona, reason="x")
    act(report, "ban", moderator=mona, reason="Deleted it to hide.")
    ada.refresh_from_db()
    assert not ada.is_active


def test_an_e_mail_that_cannot_be_sent_undoes_nothing(
    report: Report, space: Space, mona: User, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("no mail server")

    monkeypatch.setattr(services, "send_mail", refuse)
    with django_capture_on_commit_callbacks() as callbacks:
        act(report, "take_down", moderator=mona, reason="x")
    assert callbacks
    space.refresh_from_db()
    assert space.is_withheld
