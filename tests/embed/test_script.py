"""/embed/gradio.js: the element's script, for any site, small, and never stale for long."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import brotli
import pytest
from django.test import Client

from apps.embed.script import best_encoding, script


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
