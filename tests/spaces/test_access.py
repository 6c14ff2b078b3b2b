"""Who may see what on the portal's pages."""

from __future__ import annotations

import html
from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User
from apps.repos.store import Add
from apps.spaces import invitations
from apps.spaces.commits import commit_files
from apps.spaces.invitations import invite
from apps.spaces.links import MAX_LINKS, address_of, make_link, revoke_link
from apps.spaces.models import ShareLink, Space
from apps.spaces.selectors import can_use, readable_by
from apps.spaces.services import create_space, set_embedding, set_password, set_visibility, withhold_space

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


def test_an_owner_makes_sees_and_revokes_links(ada: User, eve: User, space: Space) -> None:
    set_visibility(space, "private")
    browser = signed_in(ada)

    def do(act: str, **fields: str) -> str:
        answer = browser.post("/spaces/ada/demo/settings", {"do": act, **fields}, follow=True)
        return html.unescape(answer.content.decode())

    assert "notice-error" in do("share-link", lifetime="for ever")
    do("share-link", lifetime="week")
    link = space.share_links.get()
    assert link.created_by == ada and timedelta(days=6) < link.expires_at - timezone.now() < timedelta(days=8)
    assert address_of(link) in html.unescape(browser.get("/spaces/ada/demo/settings").content.decode())
    assert "notice-error" in do("revoke-link", link="nonsense")
    assert signed_in(eve).post("/spaces/ada/demo/settings", {"do": "revoke-link", "link": link.pk}).status_code == 404
    assert space.share_links.exists()
    page = do("revoke-link", link=str(link.pk))
    assert "Revoked" in page and address_of(link) not in page and not space.share_links.exists()


def test_links_are_bounded_and_those_that_ended_make_room(space: Space, ada: User) -> None:
    for _ in range(MAX_LINKS):
        link = make_link(space, "hour", user=ada)
    with pytest.raises(ValidationError, match="50 links"):
        make_link(space, "hour", user=ada)
    ShareLink.objects.filter(pk=link.pk).update(expires_at=timezone.now())
    make_link(space, "hour", user=ada)


def test_another_spaces_link_is_not_revoked(space: Space, ada: User) -> None:
    other = create_space(ada.namespace, "other", user=ada)
    link = make_link(other, "hour", user=ada)
    revoke_link(space, str(link.pk))
    assert other.share_links.exists()


def test_an_owner_names_the_sites_that_may_show_it(ada: User, space: Space) -> None:
    browser = signed_in(ada)

    def do(**fields: str) -> str:
        answer = browser.post("/spaces/ada/demo/settings", {"do": "embedding", **fields}, follow=True)
        space.refresh_from_db()
        return answer.content.decode()

    page = do(embedding="sites", sites="https://blog.example.org\nhttps://*.example.net")
    assert (space.disable_embedding, space.embedding_sites) == (
        False,
        ["https://blog.example.org", "https://*.example.net"],
    )
    assert "https://*.example.net" in page
    for wrong in (
        {"embedding": "sites"},
        {"embedding": "sites", "sites": "javascript:x"},
        {"embedding": "somewhere"},
        {},
    ):
        assert "notice-error" in do(**wrong)
    assert len(space.embedding_sites) == 2
    do(embedding="nowhere", sites="https://blog.example.org")
    assert (space.disable_embedding, space.embedding_sites) == (True, [])
    do(embedding="everywhere")
    assert (space.disable_embedding, space.embedding_sites) == (False, [])


def test_the_card_still_forbids_it(ada: User, space: Space) -> None:
    set_embedding(space, disabled=False, sites="https://blog.example.org")
    commit_files(space, [Add("README.md", b"---\ndisable_embedding: true\n---\n")], user=ada, message="x")
    for wanted in ("everywhere", "sites"):
        fields = {"do": "embedding", "embedding": wanted, "sites": "https://blog.example.org"}
        page = signed_in(ada).post("/spaces/ada/demo/settings", fields, follow=True).content.decode()
        space.refresh_from_db()
        assert space.disable_embedding and "README.md says" in page


def test_invited_people_see_it_and_change_nothing(filled: Space, ada: User, eve: User) -> None:
    set_visibility(filled, "private")
    guest, other = signed_in(eve), signed_in(User.objects.create_user("bob", "bob@example.org", "a-good-long-password"))
    invite(filled, " EVE ")
    invite(filled, "eve")
    assert filled.invitations.count() == 1
    for path in ("", *(f"/{f}" for f in FILES)):
        assert guest.get(f"/spaces/ada/demo{path}").status_code == 200
        assert other.get(f"/spaces/ada/demo{path}").status_code == 404
        assert Client().get(f"/spaces/ada/demo{path}").status_code == 404
    for path in ("settings", "logs", "edit/main/secret.html", "upload/main"):
        assert guest.get(f"/spaces/ada/demo/{path}").status_code == 403
    for act in ("visibility", "invite", "delete", "pause"):
        assert guest.post("/spaces/ada/demo/settings", {"do": act, "confirm": "ada/demo"}).status_code == 403
    assert list(readable_by(eve).filter(pk=filled.pk)) == [filled]
    set_visibility(filled, "public")
    set_password(filled, WORD)
    assert guest.get("/spaces/ada/demo/tree/main").status_code == 200
    assert other.get("/spaces/ada/demo/tree/main").status_code == 403


def test_invited_people_find_it_on_their_own_page_alone(space: Space, ada: User, eve: User) -> None:
    set_visibility(space, "private")
    invite(space, "eve")
    assert (
        b"Shared with you" in signed_in(eve).get("/eve").content and b"ada/demo" in signed_in(eve).get("/eve").content
    )
    assert b"ada/demo" not in signed_in(ada).get("/eve").content and b"ada/demo" not in Client().get("/eve").content
    withhold_space(space, "phishing")
    assert b"ada/demo" not in signed_in(eve).get("/eve").content


def test_an_owner_invites_and_takes_back(ada: User, eve: User, space: Space) -> None:
    set_visibility(space, "private")
    browser = signed_in(ada)

    def do(act: str, username: str) -> str:
        return browser.post(
            "/spaces/ada/demo/settings", {"do": act, "username": username}, follow=True
        ).content.decode()

    assert "owns the Space" in do("invite", "ada")
    assert "Nobody here is called" in do("invite", "<script>nobody") and "<script>nobody" not in do(
        "invite", "<script>nobody"
    )
    User.objects.create_user("gone", "gone@example.org", "a-good-long-password", is_active=False)
    assert "Nobody here is called" in do("invite", "gone")
    assert "Take back the invitation of eve" in do("invite", "eve")
    assert "Take back the invitation of eve" not in do("uninvite", "eve")
    assert signed_in(eve).get("/spaces/ada/demo").status_code == 404


def test_invitations_are_bounded(ada: User, eve: User, space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations, "MAX_INVITATIONS", 1)
    invite(space, "eve")
    User.objects.create_user("bob", "bob@example.org", "a-good-long-password")
    with pytest.raises(ValidationError, match="At most 1"):
        invite(space, "bob")


def test_an_owner_chooses_whether_the_app_is_told_who_asks(ada: User, eve: User, space: Space) -> None:
    assert not space.tells_username
    address, on = "/spaces/ada/demo/settings", {"do": "username", "tells_username": "on"}
    assert signed_in(eve).post(address, on).status_code == 403
    for fields, told in ((on, True), ({"do": "username"}, False)):
        signed_in(ada).post(address, fields)
        space.refresh_from_db()
        assert space.tells_username is told


def test_staff_are_not_shown_the_hash_either(space: Space) -> None:
    set_password(space, WORD)
    root = signed_in(User.objects.create_superuser("root", "root@example.org", "a-good-long-password"))
    page = root.get(f"/admin/spaces/space/{space.pk}/change/")
    assert page.status_code == 200 and space.password not in html.unescape(page.content.decode())


def test_the_hubs_api_tells_a_crashs_log_to_its_owner_alone(space: Space, ada: User, eve: User) -> None:
    Space.objects.filter(pk=space.pk).update(stage="RUNTIME_ERROR", stage_message="KeyError: 'the secret'")
    for address in ("/api/spaces/ada/demo", "/api/spaces/ada/demo/runtime"):
        for client, told in ((Client(), False), (signed_in(eve), False), (signed_in(ada), True)):
            answer = client.get(address)
            assert answer.status_code == 200 and (b"the secret" in answer.content) is told


def test_a_nul_is_no_error_of_the_portal(ada: User, space: Space) -> None:
    for act in ("invite", "uninvite", "add-domain", "check-domain", "remove-domain", "revoke-link", "embedding"):
        fields = {"do": act, "username": "e\0ve", "name": "a\0.example.org", "link": "\0", "embedding": "\0"}
        assert signed_in(ada).post("/spaces/ada/demo/settings", fields).status_code == 302
