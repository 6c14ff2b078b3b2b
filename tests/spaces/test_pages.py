"""The pages: who sees what, nothing hostile gets through, every change has its token."""

from __future__ import annotations

import html
import re

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User
from apps.repos.store import Add
from apps.spaces import services
from apps.spaces.commits import commit_files
from apps.spaces.models import Notice, Space, Stage
from apps.spaces.stages import set_stage

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def owner(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


@pytest.fixture
def stranger(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("eve", "eve@example.org", "a-good-long-password"))
    return client


@pytest.fixture
def filled(space: Space, ada: User) -> Space:
    commit_files(space, [Add("app.py", b"print(1)"), Add("data/x.bin", b"\0\1")], user=ada, message="First")
    return space


READ = ["", "/app", "/tree/main", "/tree/main/data", "/blob/main/app.py", "/resolve/main/app.py", "/commits/main"]
WRITE = ["/logs", "/logs/run.log", "/settings", "/edit/main", "/edit/main/app.py", "/upload/main"]


@pytest.mark.parametrize("path", READ + WRITE + ["/report"])
def test_a_private_space_is_the_same_404_as_none(path: str, filled: Space, client: Client, stranger: Client) -> None:
    services.set_visibility(filled, "private")
    for visitor in (client, stranger):
        hidden, none = visitor.get(f"/spaces/ada/demo{path}"), visitor.get(f"/spaces/ada/never{path}")
        assert hidden.status_code == none.status_code == 404
        assert "demo" not in hidden.content.decode().replace("demos", "")


@pytest.mark.parametrize("path", READ)
def test_anyone_reads_a_public_space(path: str, filled: Space, client: Client) -> None:
    assert client.get(f"/spaces/ada/demo{path}").status_code == 200


@pytest.mark.parametrize("path", WRITE)
def test_only_the_owner_gets_to_change_it(
    path: str, filled: Space, client: Client, stranger: Client, ada: User
) -> None:
    assert client.get(f"/spaces/ada/demo{path}").status_code == 302
    assert stranger.get(f"/spaces/ada/demo{path}").status_code == 403
    client.force_login(ada)
    assert client.get(f"/spaces/ada/demo{path}").status_code == 200


@pytest.mark.parametrize(
    "path", ["/spaces/ada/demo/settings", "/spaces/ada/demo/edit/main", "/spaces/ada/demo/upload/main",
             "/spaces/ada/demo/delete/main/app.py", "/new-space", "/uploads"],
)  # fmt: skip
def test_a_change_without_its_token_is_refused(path: str, filled: Space, ada: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(ada)
    assert browser.post(path, {"do": "delete", "confirm": "ada/demo"}).status_code == 403
    assert Space.objects.filter(pk=filled.pk).exists()


@pytest.mark.parametrize("path", READ)
def test_a_withheld_space_is_a_tombstone(path: str, filled: Space, client: Client, owner: Client) -> None:
    services.withhold_space(filled, "It imitates a bank.")
    page = Client().get(f"/spaces/ada/demo{path}")
    assert page.status_code == 410
    assert "imitates a bank" not in page.content.decode()
    assert "imitates a bank" in owner.get(f"/spaces/ada/demo{path}").content.decode()


def test_a_moderator_whose_own_space_is_withheld_reads_it_and_is_offered_no_change(
    filled: Space, owner: Client, ada: User
) -> None:
    User.objects.filter(pk=ada.pk).update(is_moderator=True)
    assert "Write a file" in owner.get("/spaces/ada/demo/tree/main").content.decode()
    services.withhold_space(filled, "It imitates a bank.")
    page = owner.get("/spaces/ada/demo/tree/main")
    assert (page.status_code, "app.py" in page.content.decode()) == (200, True)
    assert "Write a file" not in page.content.decode()


def test_what_a_space_says_of_itself_is_only_ever_text(space: Space, ada: User, client: Client) -> None:
    readme = f"---\ntitle: '{SCRIPT}'\nshort_description: '{SCRIPT}'\nemoji: '<b>'\n---\n"
    commit_files(
        space, [Add("README.md", readme.encode()), Add(f"{SCRIPT.replace('/', '')}.py", b"")], user=ada, message=SCRIPT
    )
    set_stage(space.pk, Stage.BUILD_ERROR, SCRIPT)
    client.force_login(ada)
    for path in ("/", "/spaces", "/ada", *(f"/spaces/ada/demo{p}" for p in ("", "/tree/main", "/commits/main"))):
        assert "<script>alert" not in client.get(path).content.decode(), path
        assert "alert(1)" in client.get(path).content.decode(), path


def test_a_file_of_a_space_is_a_download_and_nothing_else(space: Space, ada: User, client: Client) -> None:
    commit_files(space, [Add("x.html", SCRIPT.encode()), Add("x.svg", SCRIPT.encode())], user=ada, message="x")
    for name in ("x.html", "x.svg"):
        answer = client.get(f"/spaces/ada/demo/resolve/main/{name}")
        assert answer["Content-Type"] in ("text/plain; charset=utf-8", "application/octet-stream")
        assert answer["Content-Disposition"].startswith("attachment")
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer["Content-Security-Policy"]
    assert SCRIPT not in client.get("/spaces/ada/demo/blob/main/x.html").content.decode()


@pytest.mark.parametrize(
    "path", ["blob/main/../../etc/passwd", "tree/main/nope", "resolve/nope/app.py", "blob/main/data"]
)
def test_what_is_not_there_is_a_404(path: str, filled: Space, client: Client) -> None:
    assert client.get(f"/spaces/ada/demo/{path}").status_code == 404


def test_the_page_frames_the_demo_from_its_own_host(filled: Space, client: Client) -> None:
    set_stage(filled.pk, Stage.RUNNING)
    page = client.get("/spaces/ada/demo").content.decode()
    frame = re.search(r'<iframe src="([^"]+)"[^>]*sandbox="([^"]+)"', page)
    assert frame and frame[1].startswith("http://ada-demo.spaces.localhost:8000/")
    assert "allow-top-navigation" not in frame[2]


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (Stage.BUILDING, "Getting its packages ready"), (Stage.APP_STARTING, "Starting the app"),
        (Stage.CONFIG_ERROR, "what is wrong"), (Stage.BUILD_ERROR, "what is wrong"),
        (Stage.RUNTIME_ERROR, "what is wrong"), (Stage.PAUSED, "Paused"),
    ],
)  # fmt: skip
def test_every_stage_says_what_is_so(stage: Stage, words: str, filled: Space, owner: Client) -> None:
    set_stage(filled.pk, stage, "what is wrong" if stage.value.endswith("ERROR") else "")
    page = owner.get("/spaces/ada/demo")
    assert words in page.content.decode()
    assert "<iframe" not in page.content.decode()


def test_search_finds_by_owner_name_and_title_and_only_what_is_listed(filled: Space, ada: User, client: Client) -> None:
    services.create_space(ada.namespace, "hidden-demo", user=ada, visibility="private")
    assert "ada/demo" in client.get("/spaces?q=DEM").content.decode()
    assert "hidden-demo" not in client.get("/spaces?q=dem").content.decode()
    assert "Nothing found" in client.get("/spaces?q=zzz").content.decode()
    assert client.get("/spaces?q=a&page=zzz").status_code == 200


def test_a_profile_shows_private_spaces_to_their_owner_alone(ada: User, client: Client, stranger: Client) -> None:
    services.create_space(ada.namespace, "mine", user=ada, visibility="private")
    assert "ada/mine" not in stranger.get("/ada").content.decode()
    client.force_login(ada)
    assert "ada/mine" in client.get("/ADA").content.decode()
    assert client.get("/nobody").status_code == 404


def test_a_new_portal_says_how_to_begin(db: None, client: Client) -> None:
    assert "No Spaces yet" in client.get("/").content.decode()


def test_a_notice_is_shown_to_its_owner_until_dismissed(
    ada: User, space: Space, owner: Client, stranger: Client
) -> None:
    notice = Notice.objects.create(namespace=ada.namespace, space=space, text="Mind the rules.")
    assert "Mind the rules." in owner.get("/").content.decode()
    assert "Mind the rules." not in stranger.get("/").content.decode()
    assert stranger.post(f"/notices/{notice.pk}/dismiss").status_code == 404
    owner.post(f"/notices/{notice.pk}/dismiss")
    assert "Mind the rules." not in owner.get("/").content.decode()


def test_a_strangers_page_does_not_hold_what_the_log_said(client: Client, ada: User, space: Space) -> None:
    set_stage(space.pk, Stage.RUNTIME_ERROR, "It crashed.\nKeyError: token=hunter2")
    assert "hunter2" not in client.get("/spaces/ada/demo").content.decode()
    client.force_login(ada)
    assert "hunter2" in client.get("/spaces/ada/demo").content.decode()


def test_the_list_is_walked_whole_while_spaces_change(client: Client, ada: User) -> None:
    for number in range(60):
        services.create_space(ada.namespace, f"demo-{number}", user=ada)
    seen: list[str] = []
    address = "/spaces?q=demo"
    while address:
        page = client.get(address)
        seen += [space.name for space in page.context["spaces"]]
        Space.objects.filter(name=seen[0]).update(updated_at=timezone.now())
        found = re.search(r'rel="next" href="([^"]*)"', page.content.decode())
        address = f"/spaces{html.unescape(found[1])}" if found else ""
    assert len(seen) == len(set(seen)) == 60
    assert client.get("/spaces?after=zzz,1").status_code == client.get("/ada?after=2020-01-01,").status_code == 200
