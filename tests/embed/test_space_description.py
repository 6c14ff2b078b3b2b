"""GET /embed/spaces/<owner>/<name>: what the element learns of a Space, as any stranger may."""

from __future__ import annotations

from django.conf import settings
from django.test import Client
from django.utils import timezone

from apps.accounts.models import Namespace, User
from apps.spaces.models import Space
from apps.spaces.services import set_visibility, withhold_space


def test_a_public_space_says_where_it_lives_and_how_it_is(client: Client, space: Space) -> None:
    answer = client.get("/embed/spaces/ada/hello")
    assert answer.status_code == 200
    assert answer.json() == {
        "space": "ada/hello",
        "url": space.url,
        "page": f"{settings.PORTICO_URL}/spaces/ada/hello",
        "title": "Hello & <friends>",
        "sdk": "gradio",
        "stage": "RUNNING",
        "embeddable": True,
    }


def test_any_site_may_ask_and_no_cookie_is_set_or_varied_on(client: Client, space: Space, ada: User) -> None:
    client.force_login(ada)
    answer = client.get("/embed/spaces/ada/hello", headers={"origin": "https://blog.example"})
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer
    assert not answer.cookies
    assert "Cookie" not in answer.get("Vary", "")
    assert answer["Cache-Control"] == "public, max-age=1"


def test_names_are_found_in_any_case(client: Client, space: Space) -> None:
    assert client.get("/embed/spaces/ADA/Hello").json()["space"] == "ada/hello"


def test_a_private_space_and_one_that_never_was_answer_alike_even_to_the_owner(
    client: Client, space: Space, ada: User
) -> None:
    set_visibility(space, Space.Visibility.PRIVATE)
    client.force_login(ada)
    private, unknown = client.get("/embed/spaces/ada/hello"), client.get("/embed/spaces/ada/nothing")
    assert private.status_code == unknown.status_code == 404
    assert private.content == unknown.content
    assert private["Access-Control-Allow-Origin"] == "*"


def test_a_withheld_space_is_gone_at_once(client: Client, space: Space) -> None:
    withhold_space(space, "Copies a bank.")
    answer = client.get("/embed/spaces/ada/hello")
    assert answer.status_code == 410
    assert "bank" not in answer.content.decode()
    assert space.url not in answer.content.decode()


def test_a_banned_owners_space_is_gone(client: Client, space: Space) -> None:
    Namespace.objects.filter(pk=space.owner_id).update(suspended_at=timezone.now())
    assert client.get("/embed/spaces/ada/hello").status_code == 410


def test_a_withheld_private_space_stays_unknown(client: Client, space: Space) -> None:
    set_visibility(space, Space.Visibility.PRIVATE)
    withhold_space(space, "Copies a bank.")
    assert client.get("/embed/spaces/ada/hello").status_code == 404


def test_it_says_when_the_owner_has_turned_embedding_off(client: Client, space: Space) -> None:
    Space.objects.filter(pk=space.pk).update(disable_embedding=True)
    assert client.get("/embed/spaces/ada/hello").json()["embeddable"] is False
