"""When a file's place is told to an nginx in front instead of sending its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import RequestFactory

from apps.accounts.models import User
from apps.gateway import accel, answers
from apps.gateway.routes import read_route
from apps.repos.store import Add
from apps.spaces.commits import commit_files
from apps.spaces.downloads import accelerated
from apps.spaces.models import Space
from tests.gateway.asgi_client import get, without_id
from tests.gateway.conftest import MakeSpace, StandInAgent, deploy

pytestmark = pytest.mark.django_db(transaction=True)

ASKING = {"X-Forwarded-Accel": "nginx"}


@pytest.fixture(autouse=True)
def nginx_in_front(settings: Any) -> None:
    settings.PORTICO_ACCEL = "nginx"


@pytest.fixture
async def site(make_space: MakeSpace, agent: StandInAgent) -> tuple[Space, Path]:
    space = await sync_to_async(make_space)(sdk="static")
    route = await read_route(("subdomain", space.subdomain))
    assert route is not None
    route.folder.mkdir(parents=True)
    (route.folder / "index.html").write_text("<h1>home</h1>")
    (route.folder / "a\nb.txt").write_text("odd")
    return space, route.folder


async def test_nginx_is_told_the_place_and_every_header(site: tuple[Space, Path]) -> None:
    plain, told = await get(site[0].host, "/"), await get(site[0].host, "/", headers=ASKING)
    assert (told.status, told.body) == (200, b"")
    assert told.get("x-accel-redirect") == f"/.portico/accel/deployments/{site[1].name}/index.html"
    ours = {"x-accel-redirect", "content-length"}
    kept = {k for k, _ in plain.headers} - set(accel.RENEWED_BY_NGINX) - {b"x-request-id"}
    said = {(k, v) for k, v in without_id(told) if k.decode() not in ours}
    assert said == {p for p in plain.headers if p[0] in kept}


async def test_the_bytes_come_from_here_unless_operator_and_proxy_both_want_it(
    site: tuple[Space, Path], settings: Any
) -> None:
    for headers in ({}, {"X-Forwarded-Accel": "1"}, {**ASKING, "If-Match": '"x"'}, {**ASKING, "Range": "bytes=9-2"}):
        answer = await get(site[0].host, "/", headers=headers)
        assert answer.get("x-accel-redirect") is None and answer.text == "<h1>home</h1>"
    settings.PORTICO_ACCEL = ""
    assert (await get(site[0].host, "/", headers=ASKING)).text == "<h1>home</h1>"


async def test_a_framed_page_gets_its_script_here(site: tuple[Space, Path]) -> None:
    framed = {**ASKING, "Sec-Fetch-Storage-Access": "none", "Sec-Fetch-Dest": "iframe"}
    answer = await get(site[0].host, "/", headers=framed)
    assert answer.get("x-accel-redirect") is None and "/.portico/storage.js" in answer.text
    answer = await get(site[0].host, "/", headers={**ASKING, "Sec-Fetch-Dest": "iframe"})
    assert answer.get("x-accel-redirect") is None and answer.text.startswith('<script src="/.portico/height.js">')


async def test_a_header_that_nginx_would_lose_keeps_the_file_here(
    site: tuple[Space, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "with_vary", lambda headers, name: [*headers, (b"x-new", b"1")])
    answer = await get(site[0].host, "/", headers=ASKING)
    assert (answer.get("x-new"), answer.text) == ("1", "<h1>home</h1>")


async def test_a_name_that_a_configuration_may_stumble_over_is_sent_from_here(site: tuple[Space, Path]) -> None:
    answer = await get(site[0].host, "/a%0Ab.txt", headers=ASKING)
    assert (answer.get("x-accel-redirect"), answer.text) == (None, "odd")


async def test_under_run_the_bytes_come_from_here(site: tuple[Space, Path]) -> None:
    (site[1] / "data.json").write_text("{}")
    slug = await sync_to_async(lambda: site[0].slug)()
    answer = await get("localhost:8000", f"/run/{slug}/data.json", headers=ASKING)
    assert (answer.get("x-accel-redirect"), answer.text) == (None, "{}")


def test_only_the_named_folders_of_the_data_folder_have_places(settings: Any) -> None:
    data = settings.PORTICO_DATA
    assert accel.location(data / "deployments" / "1" / "ä b%.txt") == "/.portico/accel/deployments/1/%C3%A4%20b%25.txt"
    for path in (
        data / "keys" / "secret_key", data / "portico.sqlite3", data / "deployments", data, Path("/etc/passwd"),
        data / "deployments" / ".." / "keys" / "secret_key", data.with_name("other") / "deployments" / "x",
    ):  # fmt: skip
        assert accel.location(path) is None


@pytest.fixture
def committed(make_space: MakeSpace, owner: User) -> tuple[Space, str, Path]:
    """A Space with one deployed commit, its hash, and the deployment's folder."""
    space = make_space(sdk="static")
    revision = commit_files(space, [Add("sub/a.txt", b"0123")], user=owner, message="First")
    deployment = deploy(space)
    type(deployment).objects.filter(pk=deployment.pk).update(revision=revision)
    folder = accel.settings.PORTICO_DATA / "deployments" / str(deployment.pk)
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.txt").write_text("0123")
    return space, revision, folder


def test_a_repositorys_file_is_taken_from_the_deployment_of_its_revision(committed: tuple[Space, str, Path]) -> None:
    space, revision, folder = committed
    asking = RequestFactory().get("/", HTTP_X_FORWARDED_ACCEL="nginx")
    where = f"/.portico/accel/deployments/{folder.name}/sub/a.txt"
    assert accelerated(asking, space, revision, "sub/a.txt", 4) == where
    assert accelerated(RequestFactory().get("/"), space, revision, "sub/a.txt", 4) is None
    assert accelerated(asking, space, "f" * 40, "sub/a.txt", 4) is None
    assert accelerated(asking, space, revision, "sub/a.txt", 5) is None  # not what the repository has
    for path in ("sub", "none", "../../keys/secret_key", "sub/a.txt/x"):
        assert accelerated(asking, space, revision, path, 4) is None


def test_a_link_in_a_deployment_is_not_taken_for_the_file(committed: tuple[Space, str, Path]) -> None:
    space, revision, folder = committed
    (folder / "sub" / "a.txt").unlink()
    (folder / "elsewhere").write_text("0123")
    (folder / "sub" / "a.txt").symlink_to(folder / "elsewhere")
    asking = RequestFactory().get("/", HTTP_X_FORWARDED_ACCEL="nginx")
    assert accelerated(asking, space, revision, "sub/a.txt", 4) is None
