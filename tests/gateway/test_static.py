from __future__ import annotations

import os
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async

from apps.builds.models import Deployment
from apps.gateway.asgi import current
from apps.gateway.routes import read_route
from apps.spaces.models import Space
from tests.gateway.asgi_client import ask, get
from tests.gateway.conftest import MakeSpace, StandInAgent, deploy

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def site(make_space: MakeSpace, agent: StandInAgent) -> tuple[Space, Path]:
    """A static Space and its folder."""
    space = await sync_to_async(make_space)(sdk="static")
    route = await read_route(("subdomain", space.subdomain))
    assert route is not None
    folder = route.folder
    (folder / "sub dir").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>home</h1>")
    (folder / "README.md").write_text("---\nsdk: static\n---\n")
    (folder / ".env").write_text("SECRET=1")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")
    (folder / "app.js").write_text("let a = 1")
    (folder / "data.bin").write_bytes(bytes(range(256)) * 4096)
    (folder / "sub dir" / "index.html").write_text("below")
    (folder / "sub dir" / "ä.txt").write_text("umlaut")
    (folder / "out").symlink_to("/etc")
    (folder / "passwd.txt").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    return space, folder


async def test_files_are_served_with_their_types_and_no_worker(site: tuple[Space, Path], agent: StandInAgent) -> None:
    host = site[0].host
    for path, kind, body in (
        ("/", "text/html; charset=utf-8", b"<h1>home</h1>"),
        ("/index.html", "text/html; charset=utf-8", b"<h1>home</h1>"),
        ("/app.js", "text/javascript; charset=utf-8", b"let a = 1"),
        ("/sub%20dir/", "text/html; charset=utf-8", b"below"),
        ("/sub%20dir/%C3%A4.txt", "text/plain; charset=utf-8", b"umlaut"),
    ):
        answer = await get(host, path)
        assert (answer.status, answer.get("content-type"), answer.body) == (200, kind, body)
        assert answer.get("content-length") == str(len(body)) and answer.get("x-content-type-options") == "nosniff"
    assert agent.ensured == []


async def test_a_folder_without_its_slash_leads_to_it(site: tuple[Space, Path]) -> None:
    answer = await get(site[0].host, "/sub%20dir?x=1")
    assert (answer.status, answer.get("location")) == (307, "/sub%20dir/?x=1")


@pytest.mark.parametrize(
    "path",
    [
        "/../../portico.sqlite3", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/keys/secret_key", "/sub%20dir/../../x",
        "/.env", "/.git/config", "/sub%20dir/.hidden", "/out/passwd", "/passwd.txt", "/pipe", "/README.md",
        "/readme.MD", "//etc/passwd", "/etc%00/passwd", "/index.html/", "/index.html/x", "/%ff", "/..\\..\\x", "/none",
    ],
)  # fmt: skip
async def test_nothing_but_the_sites_own_files_is_served(site: tuple[Space, Path], path: str) -> None:
    answer = await get(site[0].host, path)
    assert answer.status == 404 and b"root:" not in answer.body and b"SECRET" not in answer.body


async def test_ranges_etags_and_head(site: tuple[Space, Path]) -> None:
    host, whole = site[0].host, (site[1] / "data.bin").read_bytes()
    full = await get(host, "/data.bin")
    assert full.body == whole and full.get("accept-ranges") == "bytes"
    etag = full.get("etag") or ""
    for wanted, first, last in (
        ("bytes=0-9", 0, 9),
        ("bytes=1048570-", 1048570, 1048575),
        ("bytes=-6", 1048570, 1048575),
    ):
        part = await get(host, "/data.bin", headers={"Range": wanted, "If-Range": etag})
        assert (part.status, part.body) == (206, whole[first : last + 1])
        assert part.get("content-range") == f"bytes {first}-{last}/{len(whole)}"
    for ignored in ("bytes=0-1,3-4", "lines=1-2", "bytes=x", "bytes=9-1"):
        assert (await get(host, "/data.bin", headers={"Range": ignored})).status == 200
    assert (await get(host, "/data.bin", headers={"Range": "bytes=0-9", "If-Range": '"old"'})).status == 200
    beyond = await get(host, "/data.bin", headers={"Range": "bytes=9999999-"})
    assert (beyond.status, beyond.get("content-range")) == (416, f"bytes */{len(whole)}")
    for tag in (etag, f'"x", W/{etag}', "*"):
        again = await get(host, "/data.bin", headers={"If-None-Match": tag})
        assert (again.status, again.body) == (304, b"")
    head = await ask("HEAD", host, "/data.bin")
    assert (head.status, head.body, head.get("content-length")) == (200, b"", str(len(whole)))
    assert (await ask("POST", host, "/")).status == 405


async def test_the_site_lies_where_its_app_file_lies_and_may_have_its_own_404(site: tuple[Space, Path]) -> None:
    space, folder = site
    (folder / "dist").mkdir()
    (folder / "dist" / "start.html").write_text("built")
    (folder / "dist" / "404.html").write_text("not here")
    await sync_to_async(Deployment.objects.filter(space=space).update)(app_file="dist/start.html")
    assert (await get(space.host, "/")).text == "built"
    missing = await get(space.host, "/app.js")
    assert (missing.status, missing.text) == (404, "not here")


async def test_under_run_a_static_site_shows_no_page(site: tuple[Space, Path]) -> None:
    path = f"/run/{site[0].slug}"
    assert (await get("localhost:8000", f"{path}/")).status == 406
    assert (await get("localhost:8000", f"{path}/app.js")).status == 406
    assert (await get("localhost:8000", f"{path}/data.bin")).get("content-disposition") == "attachment"


async def test_small_files_are_read_once_and_those_of_the_next_deployment_anew(site: tuple[Space, Path]) -> None:
    space, folder = site
    assert (await get(space.host, "/app.js")).text == "let a = 1"
    (folder / "app.js").unlink()
    assert (await get(space.host, "/app.js")).text == "let a = 1"
    assert (await get(space.host, "/app.js", headers={"Range": "bytes=4-4"})).text == "a"
    newer = await sync_to_async(deploy)(space)
    (folder.parent / str(newer.pk)).mkdir()
    (folder.parent / str(newer.pk) / "app.js").write_text("let a = 2")
    current().routes.invalidate(space.pk)
    assert (await get(space.host, "/app.js")).text == "let a = 2"


async def test_a_large_file_that_went_with_its_deployment_is_a_404(site: tuple[Space, Path]) -> None:
    space, folder = site
    assert (await get(space.host, "/data.bin")).status == 200
    (folder / "data.bin").unlink()
    assert (await get(space.host, "/data.bin")).status == 404
