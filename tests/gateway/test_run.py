"""`/run/<owner>/<name>/` on the portal's own origin: data, and nothing a browser would render or execute."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async

from apps.builds.models import Deployment
from apps.spaces.models import Space
from tests.gateway.asgi_client import Exchange, ask, begin, get, websocket

pytestmark = pytest.mark.django_db(transaction=True)
PORTAL = "localhost:8000"


def assert_harmless(answer: Exchange) -> None:
    assert answer.get("x-content-type-options") == "nosniff"
    assert (answer.get("content-security-policy") or "").startswith("sandbox;")
    assert len(answer.all("content-type")) <= 1
    kind = answer.get("content-type") or ""
    is_data = kind in ("application/json", "text/event-stream")
    assert is_data or (answer.get("content-disposition") or "").startswith("attachment"), kind
    for name in ("set-cookie", "refresh", "link", "www-authenticate", "access-control-allow-origin", "clear-site-data"):
        assert answer.get(name) is None


async def test_data_passes_and_the_apps_root_is_this_path(space: Space) -> None:
    answer = await ask("POST", PORTAL, f"/run/{space.slug}/a/b?c=1", body=b"{}", headers={"Cookie": "mine=1"})
    seen = answer.json()
    headers = dict(seen["headers"])
    assert (seen["method"], seen["target"]) == ("POST", "/a/b?c=1")
    assert headers["x-forwarded-host"] == f"{PORTAL}/run/{space.slug}", "how Gradio learns its root"
    assert headers["x-forwarded-prefix"] == f"/run/{space.slug}"
    assert "cookie" not in headers
    assert_harmless(answer)


async def test_other_frameworks_get_a_plain_forwarded_host(space: Space) -> None:
    await sync_to_async(Deployment.objects.update)(sdk="python")
    headers = dict((await get(PORTAL, f"/run/{space.slug}/x")).json()["headers"])
    assert headers["x-forwarded-host"] == PORTAL


async def test_names_are_found_in_any_case(space: Space) -> None:
    assert (await get(PORTAL, f"/run/{space.slug.upper()}/x")).status == 200
    assert (await get(PORTAL, f"/run/{space.slug}")).json()["target"] == "/"


@pytest.mark.parametrize(
    "kind",
    [
        "text/html", "text/html;charset=utf-7", "TEXT/HTML", "application/xhtml+xml", "image/svg+xml", "text/xml",
        "application/xml", "application/rss+xml", "text/javascript", "application/javascript",
        "application/x-javascript", "text/ecmascript", "text/css", "application/mathml+xml",
    ],
)  # fmt: skip
async def test_pages_scripts_and_styles_are_refused(space: Space, kind: str) -> None:
    answer = await get(PORTAL, f"/run/{space.slug}/page?type={quote(kind)}", headers={"Accept": "text/html"})
    assert answer.status == 406 and b"script" not in answer.body
    assert answer.json()["error"] == "data_only" and space.url in answer.json()["message"]
    assert_harmless(answer)


@pytest.mark.parametrize(
    "kind", ["", "x/y", "multipart/x-mixed-replace", "application/pdf", "text/x-anything", "text/vtt"]
)
async def test_anything_unknown_becomes_a_download(space: Space, kind: str) -> None:
    answer = await get(PORTAL, f"/run/{space.slug}/page?type={kind or 'application/octet-stream'}")
    assert answer.status == 200 and answer.get("content-type") == "application/octet-stream"
    assert_harmless(answer)


async def test_pictures_keep_their_type_as_downloads(space: Space) -> None:
    answer = await get(PORTAL, f"/run/{space.slug}/page?type=image/png")
    assert answer.get("content-type") == "image/png" and answer.get("content-disposition") == "attachment"


@pytest.mark.parametrize(
    ("said", "passed"),
    [
        ("attachment; filename=a.html", "attachment; filename*=UTF-8''a.html"),
        ("attachment; filename*=UTF-8''%C3%A4.txt", "attachment; filename*=UTF-8''%C3%A4.txt"),
        ('attachment; filename="../../x y.txt"', "attachment"),
        ("attachment", "attachment"),
    ],
)
async def test_downloads_stay_downloads(space: Space, said: str, passed: str) -> None:
    answer = await get(PORTAL, f"/run/{space.slug}/download?disposition={quote(said)}")
    assert answer.status == 200 and answer.get("content-type") == "application/octet-stream"
    assert answer.get("content-disposition") == passed
    assert_harmless(answer)


async def test_an_inline_page_is_no_download(space: Space) -> None:
    assert (await get(PORTAL, f"/run/{space.slug}/download?disposition=inline")).status == 406


async def test_events_stream(space: Space, upstream: tuple[int, dict[str, Any]]) -> None:
    stream = begin("GET", PORTAL, f"/run/{space.slug}/events")
    assert await stream.next_chunk() == b"data: 0\n\n"
    assert_harmless(stream)
    stream.disconnect()
    await stream.end()


async def test_cookies_end_here(space: Space) -> None:
    assert_harmless(await get(PORTAL, f"/run/{space.slug}/cookies"))


@pytest.mark.parametrize(
    ("to", "where"),
    [
        ("/there?x=1", "/run/SLUG/there?x=1"),
        ("there", "there"),
        ("/run/SLUG/x", "/run/SLUG/x"),
        ("http://localhost:8000/run/SLUG/x", "/run/SLUG/x"),
        ("https://evil.example/", None),
        ("//evil.example/", None),
        ("/\\evil.example", None),
        ("javascript:alert(1)", None),
        ("../../../accounts/logout/", None),
        ("/%2e%2e/%2e%2e/admin/", None),
    ],
)
async def test_redirects_stay_within_the_space(space: Space, to: str, where: str | None) -> None:
    answer = await get(PORTAL, f"/run/{space.slug}/redirect?to={quote(to.replace('SLUG', space.slug), safe='')}")
    if where is None:
        assert answer.status == 502 and answer.get("location") is None
    else:
        assert answer.status == 302 and answer.get("location") == where.replace("SLUG", space.slug)


async def test_refusals_are_json_here(space: Space) -> None:
    for path in ("/run/nobody/nothing/", "/run/x", "/run/", "/run/a/b%2fc/", f"/run/{space.slug}/vanish?times=9"):
        answer = await get(PORTAL, path, headers={"Accept": "text/html", "Sec-Fetch-Mode": "navigate"})
        assert answer.status in (404, 502)
        assert answer.get("content-type") == "application/json"
        assert_harmless(answer)


async def test_no_web_page_opens_a_websocket_here(space: Space) -> None:
    refused = websocket(PORTAL, f"/run/{space.slug}/socket", {"Origin": "http://localhost:8000"})
    assert (await refused.hear())["type"] == "websocket.close"
    program = websocket(PORTAL, f"/run/{space.slug}/socket")
    assert (await program.hear())["type"] == "websocket.accept"
    program.hang_up(1000)


async def test_other_paths_of_the_portal_are_not_the_gateways() -> None:
    from apps.gateway.asgi import is_for_gateway
    from tests.gateway.asgi_client import scope_for

    for path, ours in (("/run/a/b/", True), ("/running", False), ("/%72un/a/b/", False), ("/x/run/a/b", False)):
        assert is_for_gateway(scope_for("GET", PORTAL, path, None, "127.0.0.1")) is ours  # type: ignore[arg-type]
    for host, ours in (
        ("a.spaces.localhost", True), ("A.SPACES.LOCALHOST:1", True), ("spaces.localhost:8000", True),
        ("a.spaces.localhost.:8000", True), ("xspaces.localhost", False), ("127.0.0.1:8000", False),
        ("demo.example.org", True), ("localhost", False), ("[::1]:80", False), ("intranet", False),
        ("a.spaces.localhost.evil.example", True),  # which may be a custom domain, and is looked up as one
    ):  # fmt: skip
        assert is_for_gateway(scope_for("GET", host, "/", None, "127.0.0.1")) is ours  # type: ignore[arg-type]
