"""Files edited, added and deleted on the page."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.accounts.models import User
from apps.repos import store
from apps.repos.store import Add
from apps.spaces.commits import commit_files
from apps.spaces.models import Space


@pytest.fixture
def browser(client: Client, ada: User, space: Space) -> Client:
    commit_files(space, [Add("app.py", b"one\n"), Add("d/x", b"x")], user=ada, message="First")
    client.force_login(ada)
    return client


def text(space: Space, path: str) -> str:
    return store.read(space.repository, "main", path).decode()


def test_an_edit_is_one_commit(browser: Client, space: Space) -> None:
    page = browser.get("/spaces/ada/demo/edit/main/app.py")
    assert page.context["form"]["text"].value() == "one\n"
    fields = {"path": "app.py", "text": "two\r\n", "parent": store.head(space.repository), "message": "Better"}
    assert browser.post("/spaces/ada/demo/edit/main/app.py", fields)["Location"] == "/spaces/ada/demo/blob/main/app.py"
    assert text(space, "app.py") == "two\n"
    assert store.log(space.repository)[0].title == "Better"


def test_an_edit_on_an_older_version_is_told_and_the_text_kept(browser: Client, space: Space, ada: User) -> None:
    parent = store.head(space.repository)
    commit_files(space, [Add("app.py", b"meanwhile\n")], user=ada, message="Meanwhile")
    page = browser.post("/spaces/ada/demo/edit/main/app.py", {"path": "app.py", "text": "mine", "parent": parent})
    assert page.status_code == 422
    assert "Somebody else committed meanwhile" in page.content.decode()
    assert ">\nmine</textarea>" in page.content.decode()
    assert text(space, "app.py") == "meanwhile\n"
    fields = {"path": "app.py", "text": "mine", "parent": page.context["form"]["parent"].value()}
    assert browser.post("/spaces/ada/demo/edit/main/app.py", fields).status_code == 302
    assert text(space, "app.py") == "mine"


def test_a_file_is_renamed_by_its_path(browser: Client, space: Space) -> None:
    browser.post("/spaces/ada/demo/edit/main/app.py", {"path": "main.py", "text": "one"})
    assert {e.path for e in store.tree(space.repository, "main")} == {"d", "main.py"}


def test_a_new_file_may_go_into_a_folder(browser: Client, space: Space) -> None:
    browser.post("/spaces/ada/demo/edit/main", {"path": "d/new.txt", "text": "hi"})
    assert text(space, "d/new.txt") == "hi"


@pytest.mark.parametrize("path", ["../x", "/x", ".git/config", "d", "app.py/x"])
def test_a_path_that_cannot_be_is_told(browser: Client, space: Space, path: str) -> None:
    head = store.head(space.repository)
    assert browser.post("/spaces/ada/demo/edit/main", {"path": path, "text": "x"}).status_code == 422
    assert store.head(space.repository) == head


def test_a_binary_file_is_not_edited_as_text(browser: Client, space: Space, ada: User) -> None:
    commit_files(space, [Add("b", b"\0\1")], user=ada, message="b")
    assert browser.get("/spaces/ada/demo/edit/main/b").status_code == 404
    assert "not text" in browser.get("/spaces/ada/demo/blob/main/b").content.decode()


def test_a_file_is_deleted_and_stays_in_the_history(browser: Client, space: Space) -> None:
    before = store.head(space.repository)
    assert before
    assert browser.get("/spaces/ada/demo/delete/main/app.py").status_code == 405
    browser.post("/spaces/ada/demo/delete/main/app.py")
    assert {e.path for e in store.tree(space.repository, "main")} == {"d"}
    assert browser.get(f"/spaces/ada/demo/resolve/{before}/app.py").getvalue() == b"one\n"


def test_files_are_added_into_a_folder(browser: Client, space: Space) -> None:
    upload = browser.post("/uploads").json()["id"]
    browser.put(f"/uploads/{upload}/files/y", b"y", content_type="application/octet-stream")
    browser.post("/spaces/ada/demo/upload/main", {"upload": upload, "folder": "/d/", "message": "Add y"})
    assert text(space, "d/y") == "y"
    assert "Choose some files" in browser.post("/spaces/ada/demo/upload/main", {}).content.decode()
