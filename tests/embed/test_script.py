"""/embed/gradio.js: the element's script, for any site, small, and never stale for long."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import brotli
import pytest
from django.core.management import call_command
from django.test import Client

from apps.embed.models import ScriptVersion
from apps.embed.script import SOURCE, best_encoding, keep, script, version


def test_any_site_may_load_it(client: Client) -> None:
    answer = client.get("/embed/gradio.js", headers={"origin": "https://blog.example"})
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/javascript; charset=utf-8"
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert answer["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert not answer.cookies


@pytest.mark.parametrize(("asked", "decompress"), [("br, gzip", brotli.decompress), ("gzip", gzip.decompress)])
def test_it_is_under_6_kB_compressed(client: Client, asked: str, decompress) -> None:
    answer = client.get("/embed/gradio.js", headers={"accept-encoding": asked})
    assert answer["Content-Encoding"] == asked.split(",", maxsplit=1)[0]
    assert "Accept-Encoding" in answer["Vary"]
    assert len(answer.content) < 6000
    assert decompress(answer.content) == client.get("/embed/gradio.js").content


def test_a_browser_that_has_it_is_told_so_without_the_body(client: Client) -> None:
    first = client.get("/embed/gradio.js", headers={"accept-encoding": "gzip"})
    again = client.get("/embed/gradio.js", headers={"accept-encoding": "gzip", "if-none-match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == first["ETag"]
    assert again["Access-Control-Allow-Origin"] == "*"
    other = client.get("/embed/gradio.js", headers={"accept-encoding": "br", "if-none-match": first["ETag"]})
    assert other.status_code == 200


def test_it_is_kept_five_minutes_and_then_revalidated(client: Client) -> None:
    assert "max-age=300" in client.get("/embed/gradio.js")["Cache-Control"]


def test_it_is_only_read(client: Client) -> None:
    assert client.post("/embed/gradio.js").status_code == 405


def test_what_is_sent_is_the_source_without_its_comments() -> None:
    body = script().bodies["identity"].decode()
    assert 'customElements.define("gradio-app"' in body
    assert "@param" not in body
    assert "iframe-resizer 4, as" not in body


@pytest.mark.parametrize("name", ["gradio.js", "gradio.mjs"])
def test_it_parses_as_a_plain_script_and_as_a_module(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(script().bodies["identity"])
    node = shutil.which("node")
    assert node, "node is among the tools that scripts/setup.sh installs for the tests"
    subprocess.run([node, "--check", str(tmp_path / name)], check=True, timeout=60)


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ("gzip, deflate, br", "br"),
        ("gzip;q=1.0", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("*", "br"),
        ("br;q=x", "identity"),
        ("", "identity"),
        ("identity", "identity"),
    ],
)
def test_the_smallest_encoding_that_was_asked_for_is_chosen(asked: str, chosen: str) -> None:
    assert best_encoding(asked) == chosen


def test_a_version_is_served_by_its_digest_for_ever_and_is_what_its_integrity_says(
    client: Client, db: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = script()
    keep()
    newer = tmp_path / "gradio.js"
    newer.write_text("(() => {})();\n")
    monkeypatch.setattr("apps.embed.script.SOURCE", newer)
    assert script().digest != old.digest
    for known in (old, script()):
        answer = client.get(f"/embed/gradio-{known.digest}.js")
        assert answer.status_code == 200
        assert known.integrity == "sha384-" + base64.b64encode(hashlib.sha384(answer.content).digest()).decode()
        assert "immutable" in answer["Cache-Control"] and answer["Access-Control-Allow-Origin"] == "*"
    assert client.get("/embed/gradio-0123456789abcdef0123.js").status_code == 404


def test_the_script_is_kept_when_the_database_is_brought_up_to_date(transactional_db: None) -> None:
    assert version(script().digest) is not None
    call_command("migrate", "embed", verbosity=0)
    assert ScriptVersion.objects.filter(digest=script().digest).exists()


CONSUMER = """
import "@portico/embed";
import type { GradioAppAttributes } from "@portico/embed";
import type {} from "@portico/embed/react";

const element = document.createElement("gradio-app");
element.addEventListener("height", (event) => event.detail.height.toFixed());
element.addEventListener("error", (event) => event.detail.message.trim());
element.container = false;
export const status: "" | "waiting" | "loading" | "ready" | "error" = element.status;
export const attributes: GradioAppAttributes = { space: "ada/hello", theme_mode: "dark", eager: true };
// @ts-expect-error: there is no such theme
export const wrong: GradioAppAttributes = { theme_mode: "blue" };
export const shown = <gradio-app space="ada/hello" container={false} onheight={(e) => e.detail.height.toFixed()} />;
// @ts-expect-error: a number is no height
export const unlike = <gradio-app space="ada/hello" initial_height={300} />;
"""


def test_the_package_brings_the_element_and_its_types(tmp_path: Path) -> None:
    folder = SOURCE.parent
    packed = ["npm", "pack", "--silent", "--pack-destination", str(tmp_path)]
    name = subprocess.run(packed, cwd=folder, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    place = tmp_path / "node_modules" / "@portico" / "embed"
    place.mkdir(parents=True)
    subprocess.run(["tar", "xf", tmp_path / name, "--strip-components=1", "-C", place], check=True, timeout=60)
    assert sorted(path.name for path in place.iterdir()) == ["gradio.d.ts", "gradio.js", "package.json", "react.d.ts"]
    for package in ("@types", "csstype"):
        (place.parents[1] / package).symlink_to(folder / "node_modules" / package)
    (tmp_path / "consumer.tsx").write_text(CONSUMER)
    options = [
        "--noEmit",
        "--strict",
        "--module",
        "nodenext",
        "--target",
        "es2022",
        "--types",
        "",
        "--jsx",
        "react-jsx",
    ]
    compiler = [str(folder / "node_modules" / ".bin" / "tsc"), *options, "consumer.tsx"]
    checked = subprocess.run(compiler, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout


def test_the_types_name_the_attributes_that_the_element_has() -> None:
    observed = re.search(r"observedAttributes = \[(.*?)\]", SOURCE.read_text(), re.DOTALL)
    assert observed is not None
    declared = re.search(
        r"interface GradioAppAttributes \{(.*?)\n\}", SOURCE.with_name("gradio.d.ts").read_text(), re.S
    )
    assert declared is not None
    assert sorted(re.findall(r"^  (\w+)\?:", declared[1], re.M)) == sorted(re.findall(r'"(\w+)"', observed[1]))
