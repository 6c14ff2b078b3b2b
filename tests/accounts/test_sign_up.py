from __future__ import annotations

import pytest
from django.core import mail
from django.test import Client

from apps.accounts import services
from apps.accounts.adapters import free_name
from apps.accounts.models import Namespace, User
from apps.accounts.templatetags.wording import sentence_case
from apps.accounts.tokens import create_token
from apps.accounts.validators import validate_namespace_name
from tests.accounts.conftest import PASSWORD

FORM = {"email": "grace@example.org", "username": "grace", "password1": PASSWORD}


def sign_in(client: Client, login: str = "ada", password: str = PASSWORD) -> str:
    answer = client.post("/accounts/login/", {"login": login, "password": password}, follow=True)
    return str(answer.content.decode())


def signed_in(client: Client) -> bool:
    return client.get("/settings").status_code == 200


def test_signing_up_makes_a_person_and_their_namespace(client: Client, db: None) -> None:
    assert client.post("/accounts/signup/", FORM).status_code == 302
    assert User.objects.get(username="grace").namespace.name == "grace"
    assert signed_in(client)
    assert mail.outbox[0].to == ["grace@example.org"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ADA", "taken"),
        ("spaces", "reserved"),
        ("-x-", "letters, digits"),
        ("a--b", "not allowed"),
        ("a b", "letters, digits"),
        ("a" * 40, "at most 39"),
        ("a.git", "cannot end"),
    ],
)
def test_a_bad_name_is_explained_and_costs_nothing(client: Client, ada: User, name: str, message: str) -> None:
    answer = client.post("/accounts/signup/", FORM | {"username": name})
    assert message in answer.content.decode()
    assert "grace@example.org" in answer.content.decode()
    assert User.objects.count() == Namespace.objects.count() == 1


def test_an_organisations_name_is_taken_too(client: Client, db: None) -> None:
    Namespace.objects.create(name="Grace", kind=Namespace.Kind.ORGANISATION)
    assert "taken" in client.post("/accounts/signup/", FORM).content.decode()


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        ("bob", "bob"), ("ada", "ada-2"), ("ADA", "ADA-2"), ("Jürgen Müller", "Jurgen-Muller"),
        ("admin", "person"), ("../../x", "person"), ("漢字", "person"), ("carol@example.org", "carol"), ("", "person"),
        ("x" * 200, "x" * 39), ("--a--b--", "a-b"),
    ],
)  # fmt: skip
def test_a_providers_name_becomes_a_free_valid_one(ada: User, wish: str, name: str) -> None:
    assert free_name(wish) == name
    validate_namespace_name(name)


def test_the_next_wish_is_taken_before_a_number(ada: User) -> None:
    assert free_name("ada", "lovelace@example.org") == "lovelace"


def test_a_password_is_reset_by_e_mail(client: Client, ada: User) -> None:
    client.post("/accounts/password/reset/", {"email": "ada@example.org"})
    assert "/accounts/password/reset/key/" in mail.outbox[0].body
    link = next(word for word in str(mail.outbox[0].body).split() if "/reset/key/" in word)
    page = client.get(link, follow=True)
    client.post(page.redirect_chain[-1][0], {"password1": "quite-another-one", "password2": "quite-another-one"})
    ada.refresh_from_db()
    assert ada.check_password("quite-another-one")


def test_somebody_suspended_is_told_so_and_stays_out(client: Client, ada: User) -> None:
    services.suspend(ada.namespace)
    assert "suspended" in sign_in(client)
    assert not signed_in(client)
    assert "suspended" not in sign_in(client, password="wrong-password")


def test_suspension_ends_sessions_and_tokens_for_good(client: Client, ada: User) -> None:
    sign_in(client)
    create_token(ada, "laptop")
    assert signed_in(client)
    services.suspend(ada.namespace)
    assert not signed_in(client)
    services.reinstate(ada.namespace)
    assert not signed_in(client)
    assert not ada.access_tokens.exists()
    sign_in(client)
    assert signed_in(client)


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/email/", "/accounts/password/change/", "/accounts/3rdparty/", "/accounts/sessions/",
        "/accounts/logout/", "/settings", "/settings/tokens",
    ],
)  # fmt: skip
def test_every_page_of_an_account_wears_the_portals_look(client: Client, ada: User, path: str) -> None:
    client.force_login(ada)
    page = client.get(path).content.decode()
    assert 'aria-label="Settings"' in page
    assert "<strong>Menu:</strong>" not in page


@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/signup/", "/accounts/password/reset/"])
def test_so_does_every_entrance(client: Client, db: None, path: str) -> None:
    page = client.get(path).content.decode()
    assert "card stack" in page
    assert "button-primary" in page
    assert "<script>" not in page and "onclick" not in page


def test_allauths_words_are_written_as_the_portals_own(client: Client, db: None) -> None:
    page = client.get("/accounts/signup/").content.decode()
    assert "<h1>Sign up</h1>" in page and ">Sign up</button>" in page


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("\n  Sign Up\n", "Sign up"),
        ("Trust this Browser?", "Trust this browser?"),
        ("Enter Sign-In Code", "Enter sign-in code"),
        ("Use OpenID", "Use OpenID"),
        ("Activate TOTP", "Activate TOTP"),
        ("<b>Two Words</b>", "<b>Two Words</b>"),
    ],
)
def test_headings_are_sentences(text: str, written: str) -> None:
    assert sentence_case(text) == written
