"""Files edited, added and deleted on the page."""

from __future__ import annotations

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient, Client

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
    assert "is not UTF-8 text" in browser.get("/spaces/ada/demo/edit/main/b", follow=True).content.decode()
    assert "not text" in browser.get("/spaces/ada/demo/blob/main/b").content.decode()


def test_a_file_is_deleted_and_stays_in_the_history(browser: Client, space: Space) -> None:
    before = store.head(space.repository)
    assert before
    assert browser.get("/spaces/ada/demo/delete/main/app.py").status_code == 405
    browser.post("/spaces/ada/demo/delete/main/app.py")
    assert {e.path for e in store.tree(space.repository, "main")} == {"d"}
    assert store.read(space.repository, before, "app.py") == b"one\n"
    assert browser.get(f"/spaces/ada/demo/resolve/{before}/app.py")["X-Repo-Commit"] == before


@pytest.mark.django_db(transaction=True)
async def test_a_download_is_streamed_whole(ada: User, space: Space) -> None:
    data = bytes(range(256)) * 4096
    await sync_to_async(commit_files)(space, [Add("x.bin", data)], user=ada, message="Add")
    answer = await AsyncClient().get("/spaces/ada/demo/resolve/main/x.bin")
    assert answer.is_async
    assert b"".join([piece async for piece in answer.streaming_content]) == data


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.js", "text/plain; charset=utf-8"), ("x.css", "text/plain; charset=utf-8"),
        ("x.html", "text/plain; charset=utf-8"), ("x.svg", "application/octet-stream"),
        ("x.json", "application/octet-stream"), ("x.wasm", "application/octet-stream"), ("x.png", "image/png"),
    ],
)  # fmt: skip
def test_a_download_is_nothing_a_page_of_the_portal_could_run(
    client: Client, ada: User, space: Space, name: str, kind: str
) -> None:
    commit_files(space, [Add(name, b"x")], user=ada, message="Add")
    answer = client.get(f"/spaces/ada/demo/resolve/main/{name}")
    assert answer["Content-Type"] == kind
    assert (answer["X-Content-Type-Options"], answer["Content-Disposition"][:10]) == ("nosniff", "attachment")


@pytest.mark.parametrize("address", ["edit/main", "edit/main/d/x"])
def test_no_file_is_replaced_by_another_unasked(browser: Client, space: Space, address: str) -> None:
    page = browser.post(f"/spaces/ada/demo/{address}", {"path": "app.py", "text": "other"})
    assert (page.status_code, "is there already" in page.content.decode()) == (422, True)
    assert text(space, "app.py") == "one\n"


def test_a_file_that_is_not_utf8_is_not_damaged(browser: Client, space: Space, ada: User) -> None:
    commit_files(space, [Add("latin.py", b"# caf\xe9\n")], user=ada, message="Add")
    page = browser.get("/spaces/ada/demo/edit/main/latin.py", follow=True)
    assert "is not UTF-8 text" in page.content.decode()
    assert "/edit/main/latin.py" not in page.content.decode()


def test_lines_keep_the_ends_they_have(browser: Client, space: Space, ada: User) -> None:
    commit_files(space, [Add("dos.txt", b"a\r\nb\r\n")], user=ada, message="Add")
    browser.post("/spaces/ada/demo/edit/main/dos.txt", {"path": "dos.txt", "text": "a\r\nc\r\n"})
    assert store.read(space.repository, "main", "dos.txt") == b"a\r\nc\r\n"


def test_files_are_added_into_a_folder(browser: Client, space: Space) -> None:
    upload = browser.post("/uploads").json()["id"]
    browser.put(f"/uploads/{upload}/files/y", b"y", content_type="application/octet-stream")
    browser.post("/spaces/ada/demo/upload/main", {"upload": upload, "folder": "/d/", "message": "Add y"})
    assert text(space, "d/y") == "y"
    assert "Choose some files" in browser.post("/spaces/ada/demo/upload/main", {}).content.decode()
