"""GET /embed/spaces/<owner>/<name>: what the element learns of a Space, as any stranger may."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from apps.accounts.models import Namespace, User
from apps.spaces.links import address_of, make_link, revoke_link, signed
from apps.spaces.models import ShareLink, Space
from apps.spaces.services import create_space, set_embedding, set_visibility, withhold_space


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


def ask(client: Client, link: ShareLink, origin: str = "https://blog.example", **more: str) -> HttpResponse:
    address = "/embed/spaces/" + more.get("space", "ada/hello")
    return client.get(address, {"token": more.get("token", signed(link))}, headers={"origin": origin})


def test_a_links_token_tells_a_private_space_to_the_sites_it_names(client: Client, space: Space, ada: User) -> None:
    set_visibility(space, Space.Visibility.PRIVATE)
    set_embedding(space, disabled=False, sites="https://blog.example")
    link = make_link(space, "year", user=ada)
    answer = ask(client, link)
    assert (answer.status_code, answer.json()["embeddable"]) == (200, True)
    assert answer.json()["url"] == address_of(link)
    assert answer["Cache-Control"] == "no-store"
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert ask(client, link, "https://evil.example").json() == {"space": "ada/hello", "embeddable": False}
    set_embedding(space, disabled=True, sites="https://blog.example")
    assert ask(client, link).json()["embeddable"] is False
    withhold_space(space, "Copies a bank.")
    assert ask(client, link).status_code == 410


def test_a_token_that_has_ended_or_is_anothers_tells_nothing(client: Client, space: Space, ada: User) -> None:
    set_visibility(space, Space.Visibility.PRIVATE)
    link = make_link(space, "hour", user=ada)
    other = make_link(create_space(ada.namespace, "other", user=ada), "hour", user=ada)
    unknown = client.get("/embed/spaces/ada/nothing")
    for answer in (ask(client, link, token="made-up"), ask(client, other), ask(client, link, space="ada/nothing")):
        assert (answer.status_code, answer.content) == (404, unknown.content)
    ShareLink.objects.filter(pk=link.pk).update(expires_at=timezone.now())
    assert ask(client, link).status_code == 403
    revoke_link(other.space, str(other.pk))
    assert ask(client, other, space="ada/other").status_code == 403


@pytest.mark.parametrize(
    ("site", "origin", "is_shown"),
    [
        ("https://blog.example", "https://blog.example", True),
        ("https://blog.example", "https://blog.example:8443", False),
        ("https://blog.example", "http://blog.example", False),
        ("http://blog.example", "https://blog.example", True),
        ("https://*.blog.example", "https://a.b.blog.example", True),
        ("https://*.blog.example", "https://blog.example", False),
        ("https://*.blog.example", "https://evilblog.example", False),
        ("http://localhost:8080", "http://localhost:8080", True),
        ("https://blog.example", "null", False),
        ("https://*.blog.example", "https://*.blog.example", False),
    ],
)
def test_the_element_is_told_whether_its_page_may_show_the_space(
    client: Client, space: Space, site: str, origin: str, is_shown: bool
) -> None:
    set_embedding(space, disabled=False, sites=site)
    answer = client.get("/embed/spaces/ada/hello", headers={"origin": origin})
    assert answer.json()["embeddable"] is is_shown
    assert "Origin" in answer["Vary"]
    assert client.get("/embed/spaces/ada/hello").json()["embeddable"] is True  # the portal's own pages say no origin
