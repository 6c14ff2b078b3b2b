"""Who may see what on the portal's pages."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.test import Client

from apps.accounts.models import User
from apps.repos.store import Add
from apps.spaces.commits import commit_files
from apps.spaces.models import Space
from apps.spaces.selectors import can_use
from apps.spaces.services import set_password, set_visibility

WORD = "open sesame"
FILES = ("tree/main", "blob/main/secret.html", "resolve/main/secret.html", "commits/main")


@pytest.fixture
def eve(db: None) -> User:
    return User.objects.create_user("eve", "eve@example.org", "a-good-long-password")


@pytest.fixture
def filled(space: Space, ada: User) -> Space:
    commit_files(space, [Add("secret.html", b"the secret")], user=ada, message="First")
    space.refresh_from_db()
    return space


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_the_files_of_a_space_behind_a_password_are_for_those_who_need_none(
    filled: Space, ada: User, eve: User
) -> None:
    moderator = User.objects.create_user("mo", "mo@example.org", "a-good-long-password", is_moderator=True)
    set_password(filled, WORD)
    for path in FILES:
        for client in (Client(), signed_in(eve)):
            answer = client.get(f"/spaces/ada/demo/{path}")
            assert answer.status_code == 403 and b"the secret" not in answer.content
        for user in (ada, moderator):
            assert signed_in(user).get(f"/spaces/ada/demo/{path}").status_code == 200
    assert Client().get("/spaces/ada/demo").status_code == 200, "its page is public"
    set_password(filled, "")
    assert Client().get(f"/spaces/ada/demo/{FILES[1]}").status_code == 200


def test_the_hubs_api_says_nothing_of_them(filled: Space, ada: User) -> None:
    set_password(filled, WORD)
    said = Client().get("/api/spaces/ada/demo")
    assert said.json()["siblings"] == [] and said.json()["sha"] is None
    for leak in ("secret.html", filled.password, WORD):
        assert leak not in said.content.decode()
    by_revision = Client().get(f"/api/spaces/ada/demo/revision/{filled.head}")
    assert "secret.html" not in by_revision.content.decode()
    assert "secret.html" in signed_in(ada).get("/api/spaces/ada/demo").content.decode()


def test_an_owner_sets_changes_and_removes_it(ada: User, space: Space) -> None:
    browser = signed_in(ada)

    def do(**fields: str) -> str:
        answer = browser.post("/spaces/ada/demo/settings", {"do": "password", **fields}, follow=True)
        space.refresh_from_db()
        return answer.content.decode()

    page = do(password=WORD)
    first = space.password
    assert first and WORD not in first and WORD not in page and first not in page
    assert "is set" in page and "Remove the password" in page
    do(password=WORD)
    assert space.password != first
    assert "notice-error" in do(password="short") and space.password
    assert "notice-error" in do(password="x" * 129)
    assert "no password" in do(password="") and space.password == ""


def test_nobody_else_does(eve: User, space: Space) -> None:
    assert signed_in(eve).post("/spaces/ada/demo/settings", {"do": "password", "password": WORD}).status_code == 403
    space.refresh_from_db()
    assert space.password == ""


def test_a_private_space_needs_none_beside(space: Space, ada: User, eve: User) -> None:
    set_password(space, WORD)
    set_visibility(space, "private")
    assert can_use(ada, space) and not space.asks_password
    assert (
        Client().get("/spaces/ada/demo").status_code == 404
        and signed_in(eve).get("/spaces/ada/demo").status_code == 404
    )


def test_too_short_and_too_long_are_refused(space: Space) -> None:
    for word in ("x" * 7, "x" * 129):
        with pytest.raises(ValidationError, match="8 to 128"):
            set_password(space, word)
    assert can_use(AnonymousUser(), space)
