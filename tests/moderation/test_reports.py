from __future__ import annotations

import pytest
from django.test import Client

from apps.accounts.models import User
from apps.moderation.models import Report
from apps.moderation.views import REPORTS_PER_HOUR
from apps.spaces.models import Space
from apps.spaces.services import set_visibility

FORM = {"category": "malware", "text": "It mines coins."}
ADDRESS = "/spaces/ada/demo/report"


def test_anyone_can_report_what_they_can_see(client: Client, space: Space, mona: User) -> None:
    assert client.get(ADDRESS).status_code == 200
    assert "Thank you" in client.post(ADDRESS, FORM).content.decode()
    client.force_login(mona)
    client.post(ADDRESS, FORM)
    anonymous, named = Report.objects.order_by("id")
    assert (anonymous.reporter, named.reporter) == (None, mona)
    assert anonymous.space == space and anonymous.text == "It mines coins."


def test_a_private_space_cannot_even_be_reported_by_strangers(client: Client, space: Space) -> None:
    set_visibility(space, "private")
    for path in (ADDRESS, "/spaces/ada/never-was/report"):
        assert client.get(path).status_code == client.post(path, FORM).status_code == 404
    assert not Report.objects.exists()


@pytest.mark.parametrize("bad", [{"category": "nonsense"}, {"category": ""}, {"text": "x" * 4001}])
def test_a_bad_report_is_explained_and_nothing_is_kept(client: Client, space: Space, bad: dict[str, str]) -> None:
    answer = client.post(ADDRESS, FORM | bad)
    assert "field-error" in answer.content.decode()
    assert not Report.objects.exists()


def test_machines_that_fill_every_field_are_thanked_and_forgotten(client: Client, space: Space) -> None:
    answer = client.post(ADDRESS, FORM | {"website": "https://spam.example"})
    assert "Thank you" in answer.content.decode()
    assert not Report.objects.exists()


def test_reports_are_limited_per_person_and_address(client: Client, space: Space, mona: User) -> None:
    for _ in range(REPORTS_PER_HOUR):
        assert client.post(ADDRESS, FORM).status_code == 200
    answer = client.post(ADDRESS, FORM, headers={"X-Forwarded-For": "198.51.100.7"})
    assert answer.status_code == 429 and "It mines coins." in answer.content.decode()
    assert Report.objects.count() == REPORTS_PER_HOUR
    client.force_login(mona)
    assert client.post(ADDRESS, FORM).status_code == 200
