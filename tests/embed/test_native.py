"""Gradio's own script for other sites' pages: what is sent of it, to whom, and what never is."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import brotli
import pytest
from django.apps import apps
from django.conf import settings
from django.template.loader import render_to_string
from django.test import Client

from apps.builds import bundles, tasks
from apps.builds.models import Environment
from apps.embed.selectors import snippets
from apps.spaces.models import Space
from tests.gateway.conftest import deploy
from tests.gateway.gradio_like import FILES, SCRIPT, STYLE

LOCK = f"fastapi==1.0 \\\n    --hash=sha256:{'1' * 64}\ngradio==6.30.1 \\\n" + " \\\n".join(
    f"    --hash=sha256:{digit * 64}" for digit in "23"
)
VERSION = "6.30.1"


@pytest.fixture
def data(settings, tmp_path: Path) -> Path:
    settings.PORTICO_DATA = tmp_path
    return tmp_path


@pytest.fixture
def bundle(data: Path) -> Path:
    """The files of a version; the folder."""
    folder = bundles.folder() / VERSION
    files = {"gradio.js": b'import("./assets/index.js");\n', "index.html": b"<script>1</script>", **FILES}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def used(space: Space, data: Path) -> Space:
    """`ada/hello` runs with that version."""
    version = bundles.version_in(LOCK)
    environment = Environment.objects.create(key="e", python_version="3.13.1", lock=LOCK, gradio_version=version)
    deploy(space, environment=environment)
    return space


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The versions that the queue was asked for."""
    found: list[str] = []
    monkeypatch.setattr(tasks.fetch_bundle, "delay", found.append)
    return found


def test_any_site_gets_it_small_and_for_good(client: Client, bundle: Path) -> None:
    answer = client.get(f"/embed/{VERSION}/{SCRIPT}", headers={"accept-encoding": "gzip, br", "origin": "https://a.b"})
    assert (answer.status_code, brotli.decompress(answer.content)) == (200, FILES[SCRIPT])
    said = {
        "Content-Type": "text/javascript; charset=utf-8",
        "Content-Encoding": "br",
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept-Encoding",
    }
    assert {name: answer[name] for name in said} == said
    assert answer["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert not answer.cookies
    known = {"accept-encoding": "br", "if-none-match": answer["ETag"]}
    again = client.get(f"/embed/{VERSION}/{SCRIPT}", headers=known)
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", answer["ETag"])
    assert again["Access-Control-Allow-Origin"] == "*"
    assert client.get(f"/embed/{VERSION}/gradio.js").content == (bundle / "gradio.js").read_bytes()
    assert client.post(f"/embed/{VERSION}/gradio.js").status_code == 405


def test_the_style_sheet_that_gradios_script_asks_for_at_the_root_is_led_to_its_version(
    client: Client, bundle: Path
) -> None:
    answer = client.get(f"/{STYLE}")
    assert (answer.status_code, answer["Location"]) == (302, f"/embed/{VERSION}/{STYLE}")
    assert answer["Cross-Origin-Resource-Policy"] == "cross-origin" and "immutable" in answer["Cache-Control"]
    for name in ("index-12345678.css", SCRIPT.removeprefix("assets/"), "index-*.css", "index-DiEEvXS6.css%0a"):
        assert client.get(f"/assets/{name}").status_code == 404, name


@pytest.mark.parametrize(
    "path", ["index.html", "assets/../gradio.js", "assets/%2e%2e/gradio.js", "assets/none.js", "assets/", "assets",
             "assets/link.js", "assets/page.html", "assets/%00.js", "../../keys", "assets/.hidden.js"]
)  # fmt: skip
def test_nothing_else_of_the_package_or_the_portal_is_sent(client: Client, bundle: Path, path: str) -> None:
    (bundle.parent.parent / "keys").write_text("secret")
    (bundle / "assets" / "link.js").symlink_to("../../../keys")
    for name in ("page.html", ".hidden.js"):
        (bundle / "assets" / name).write_text("1")
    answer = client.get(f"/embed/{VERSION}/{path}")
    assert (answer.status_code, answer["Access-Control-Allow-Origin"]) == (404, "*"), answer.content
    assert answer.json() == {"error": f"Gradio {VERSION} has no such file."}


@pytest.mark.parametrize("version", ["9.9.9", "6.30", "..", "1" * 50, "gradio"])
def test_versions_that_no_space_has_are_not_fetched(
    client: Client, used: Space, asked: list[str], version: str
) -> None:
    answer = client.get(f"/embed/{version}/gradio.js")
    assert answer.status_code == 404
    assert asked == []


def test_while_it_is_fetched_visitors_are_told_when_to_ask_again_and_the_queue_is_asked_once(
    client: Client, used: Space, asked: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    for _ in range(3):
        with django_capture_on_commit_callbacks(execute=True):
            answer = client.get(f"/embed/{VERSION}/gradio.js")
        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
        assert answer.json() == {"error": f"Gradio {VERSION} is being fetched. Ask again in 5 seconds."}
    assert asked == [VERSION]
    used.deployments.update(is_current=False)
    assert client.get(f"/embed/{VERSION}/gradio.js").status_code == 404


def test_it_is_offered_where_it_would_work(used: Space, bundle: Path, data: Path) -> None:
    offered = snippets(used)
    assert f'src="{settings.PORTICO_URL}/embed/{VERSION}/gradio.js"></script>\n<gradio-app src="{used.url}">' in (
        offered.native
    )
    shown = render_to_string("embed/dropdown.html", {"space": used})
    assert "In the page itself" in shown and "not both" in shown
    for change in ({"password": "x"}, {"visibility": "private"}, {"disable_embedding": True}, {"sdk": "static"}):
        other = Space.objects.select_related("owner").get(pk=used.pk)
        for name, value in change.items():
            setattr(other, name, value)
        assert snippets(other).native == "", change
        assert "In the page itself" not in render_to_string("embed/dropdown.html", {"space": other})
    (bundle / "gradio.js").unlink()
    assert snippets(used).native == "", "not before it is there"


def test_only_a_version_of_the_package_index_counts() -> None:
    assert bundles.version_in(LOCK) == VERSION
    address = f"gradio @ https://evil.example/gradio-6.30.1-py3-none-any.whl \\\n    --hash=sha256:{'1' * 64}"
    for lock in ("", "gradio==6.30.1", address, LOCK.replace("6.30.1", "../x"), LOCK.replace("gradio", "my-gradio")):
        assert bundles.version_in(lock) == "", lock


def test_environments_from_before_are_told_their_version(used: Space) -> None:
    Environment.objects.update(gradio_version="")
    Environment.objects.create(key="other", python_version="3.13.1", lock=LOCK.replace("gradio", "gradio-client"))
    migration = importlib.import_module("apps.builds.migrations.0002_environment_gradio_version")
    migration.tell_versions(apps, None)
    assert dict(Environment.objects.values_list("key", "gradio_version")) == {"e": VERSION, "other": ""}
