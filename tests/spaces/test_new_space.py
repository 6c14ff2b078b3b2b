"""Making a Space: from an upload, a template, a pasted file, an archive without scripts, or empty."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client

from apps.accounts.models import User
from apps.repos import store
from apps.spaces import card
from apps.spaces.models import Space, Stage, Upload
from apps.spaces.templates_gallery import STARTERS
from portal.bounds import body_limit


@pytest.fixture
def browser(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


def create(browser: Client, **fields: Any) -> HttpResponse:
    return browser.post("/new-space", {"name": "demo", "sdk": "gradio", "visibility": "public", **fields})  # type: ignore[return-value]


def files(name: str = "demo") -> set[str]:
    space = Space.objects.get(name=name)
    return {e.path for e in store.tree(space.repository, "main", recursive=True) if e.kind == "file"}


def begin(browser: Client) -> str:
    answer = browser.post("/uploads")
    assert answer.status_code == 201
    return str(answer.json()["id"])


def put(browser: Client, upload: str, path: str, data: bytes, **query: str) -> Any:
    return browser.put(
        f"/uploads/{upload}/files/{path}", data, content_type="application/octet-stream", query_params=query
    )


def zipped(**names: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in names.items():
            archive.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


def test_uploaded_files_become_the_first_commit(browser: Client) -> None:
    upload = begin(browser)
    assert put(browser, upload, "app.py", b"import gradio").json() == {"files": [{"path": "app.py", "size": 13}]}
    put(browser, upload, "data/x y.csv", b"1")
    assert [f["path"] for f in browser.get(f"/uploads/{upload}").json()["files"]] == ["app.py", "data/x y.csv"]
    answer = create(browser, upload=upload)
    assert answer["Location"] == "/spaces/ada/demo"
    assert files() == {"README.md", "app.py", "data/x y.csv"}
    assert Space.objects.get().stage == Stage.BUILDING
    assert not Upload.objects.exists()


def test_an_archive_is_unpacked_and_a_file_taken_out_again(browser: Client) -> None:
    upload = begin(browser)
    put(browser, upload, "all.zip", zipped(demo__app=b"1", demo__notes=b"2"), expand="1")
    assert browser.delete(f"/uploads/{upload}/files/notes").status_code == 204
    create(browser, upload=upload)
    assert files() == {"README.md", "app"}


@pytest.mark.parametrize("path", ["..%2Fx", ".git/config"])
def test_a_refused_file_is_told_and_the_rest_kept(browser: Client, path: str) -> None:
    upload = begin(browser)
    put(browser, upload, "app.py", b"1")
    answer = put(browser, upload, path, b"x")
    assert answer.status_code == 422
    assert answer.json()["error"] == "refused" and " " in answer.json()["message"]
    assert len(browser.get(f"/uploads/{upload}").json()["files"]) == 1


def test_an_upload_belongs_to_one_person(browser: Client) -> None:
    upload = begin(browser)
    eve = Client()
    assert eve.get(f"/uploads/{upload}").status_code == 302
    eve.force_login(User.objects.create_user("eve", "eve@example.org", "a-good-long-password"))
    assert eve.get(f"/uploads/{upload}").status_code == 404
    assert put(eve, upload, "app.py", b"x").status_code == 404
    put(browser, upload, "app.py", b"1")
    create(eve, upload=upload, name="stolen")
    assert not store.head(Space.objects.get(name="stolen").repository)


@pytest.mark.parametrize("starter", STARTERS, ids=lambda s: s.key)
def test_every_template_makes_a_space_of_its_sdk(browser: Client, starter: Any) -> None:
    create(browser, starter=starter.key)
    space = Space.objects.get()
    assert space.sdk == starter.sdk
    read = card.parse(store.read(space.repository, "main", "README.md").decode())
    assert read.sdk == starter.sdk and read.app_file in files()


def test_a_pasted_app_is_a_file(browser: Client) -> None:
    create(browser, code="import gradio\r\nprint(1)\r\n")
    assert store.read(Space.objects.get().repository, "main", "app.py") == b"import gradio\nprint(1)\n"


def test_what_is_pasted_gets_the_name_that_its_sdk_looks_for(browser: Client) -> None:
    create(browser, code="<h1>Hi</h1>", sdk="static")
    assert files() == {"README.md", "index.html"}


def test_what_is_pasted_beside_a_template_has_the_template_s_sdk(browser: Client) -> None:
    answer = create(browser, code="<h1>Hi</h1>", sdk="gradio", starter="static-page")
    assert "index.html comes from two places" in answer.content.decode()


def test_without_scripts_a_single_archive_works(browser: Client) -> None:
    create(browser, file=SimpleUploadedFile("all.zip", zipped(app=b"1", d__x=b"2")))
    assert files() == {"README.md", "app", "d/x"}


def test_a_space_may_begin_empty(browser: Client) -> None:
    assert create(browser).status_code == 302
    assert Space.objects.get().stage == Stage.NO_APP_FILE
    assert "Nothing in it yet" in browser.get("/spaces/ada/demo").content.decode()


@pytest.mark.parametrize("name", ["", "a/b", "-x", "x-", "a--b", "a b", "..", "x.git", "ä", "x" * 97, "<b>"])
def test_a_malformed_name_is_told_and_the_upload_kept(browser: Client, name: str) -> None:
    upload = begin(browser)
    put(browser, upload, "app.py", b"1")
    answer = create(browser, name=name, upload=upload)
    assert answer.status_code == 422
    assert upload in answer.content.decode()
    assert browser.get(f"/uploads/{upload}").json()["files"]
    assert not Space.objects.exists()


def test_a_taken_name_is_told_in_any_case(browser: Client) -> None:
    create(browser)
    answer = create(browser, name="DEMO")
    assert (answer.status_code, "taken" in answer.content.decode()) == (422, True)
    assert "already have" in browser.get("/new-space/name?name=Demo").content.decode()
    assert "Free: ada/other" in browser.get("/new-space/name?name=other").content.decode()


def test_a_bomb_makes_no_space(browser: Client, settings: Any) -> None:
    settings.PORTICO_MAX_FILE_BYTES = 1000
    answer = create(browser, file=SimpleUploadedFile("all.zip", zipped(x=b"0" * 5000)))
    assert answer.status_code == 422
    assert not Space.objects.exists()


def test_there_is_a_limit_to_the_spaces_of_one_owner(browser: Client, settings: Any) -> None:
    settings.PORTICO_MAX_SPACES_PER_OWNER = 1
    create(browser)
    assert "the most this portal allows" in create(browser, name="two").content.decode()


def test_a_stranger_signs_in_first(client: Client, db: None) -> None:
    assert client.get("/new-space")["Location"].startswith("/accounts/login/")


def test_everything_the_form_brings_goes_into_one_commit(browser: Client) -> None:
    upload = begin(browser)
    put(browser, upload, "requirements.txt", b"numpy\n")
    create(browser, upload=upload, code="print(1)")
    assert files() == {"README.md", "requirements.txt", "app.py"}
    assert len(store.log(Space.objects.get().repository)) == 1


@pytest.mark.parametrize("fields", [{"code": "print(2)"}, {"starter": "gradio-hello"}])
def test_two_sources_of_one_file_are_told_and_nothing_is_lost(browser: Client, fields: dict[str, str]) -> None:
    upload = begin(browser)
    put(browser, upload, "app.py", b"print(1)")
    page = create(browser, upload=upload, **fields)
    assert (page.status_code, "app.py comes from two places" in page.content.decode()) == (422, True)
    assert browser.get(f"/uploads/{upload}").json()["files"] == [{"path": "app.py", "size": 8}]
    assert not Space.objects.exists()


def test_a_refused_creation_leaves_nothing_behind(browser: Client, settings: Any, tmp_path: Path) -> None:
    settings.PORTICO_DATA = tmp_path
    create(browser)
    kept = [settings.PORTICO_DATA / "uploads", settings.PORTICO_DATA / "repos"]
    before = [sorted(folder.rglob("*")) for folder in kept]
    upload = begin(browser)
    put(browser, upload, "a.txt", b"1")
    assert create(browser, code="print(1)").status_code == 422
    assert create(browser, code="print(1)", upload=upload).status_code == 422
    assert [f["path"] for f in browser.get(f"/uploads/{upload}").json()["files"]] == ["a.txt"]
    browser.delete(f"/uploads/{upload}")
    assert [sorted(folder.rglob("*")) for folder in kept] == before


def test_a_commit_that_fails_leaves_no_space(browser: Client, settings: Any) -> None:
    upload = begin(browser)
    put(browser, upload, "a.txt", b"12345")
    settings.PORTICO_MAX_FILE_BYTES = 2
    assert create(browser, upload=upload).status_code == 422
    assert not Space.objects.exists()
    assert browser.get(f"/uploads/{upload}").json()["files"]


def test_the_form_carries_an_archive_without_scripts(browser: Client, settings: Any) -> None:
    page = browser.get("/new-space").content.decode()
    action = re.search(r'<form method="post" action="([^"]*)" enctype="multipart', page)
    assert action and body_limit("localhost:8000", action[1]) > settings.PORTICO_MAX_FILE_BYTES
    archive = SimpleUploadedFile("all.zip", zipped(app=b"1"))
    browser.post(action[1], {"name": "demo", "sdk": "gradio", "visibility": "public", "file": archive})
    assert files() == {"README.md", "app"}
