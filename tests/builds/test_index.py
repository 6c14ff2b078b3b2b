"""A real package index on loopback whose servers do not agree."""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.builds import installer
from apps.sandbox.interpreters import default_interpreter

pytestmark = pytest.mark.integration


def wheel() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("brandnew.py", "NEW = True\n")
        file.writestr("brandnew-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: brandnew\nVersion: 1.0\n")
        file.writestr("brandnew-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("brandnew-1.0.dist-info/RECORD", "")
    return made.getvalue()


@pytest.fixture
def index() -> Iterator[tuple[str, list[bool]]]:
    """Its address, and for each of the next questions whether the server that answers knows the release."""
    answers, content = [], wheel()
    name = "brandnew-1.0-py3-none-any.whl"

    class Index(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, kind = content, "application/octet-stream"
            if not self.path.endswith(name):
                knows = answers.pop(0) if answers else True
                link = f'<a href="/files/{name}#sha256={hashlib.sha256(content).hexdigest()}">{name}</a>'
                body, kind = (link if knows else "<!doctype html>").encode(), "text/html"
            self.send_response(200)
            for key, value in (("Content-Type", kind), ("Content-Length", len(body)), ("Cache-Control", "no-store")):
                self.send_header(key, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple", answers
        server.shutdown()


def test_a_release_that_one_server_of_the_index_does_not_know_yet_is_asked_for_again(
    index: tuple[str, list[bool]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address, answers = index
    monkeypatch.setenv("UV_DEFAULT_INDEX", address)
    monkeypatch.setattr(installer, "PAUSES", (0, 0))
    monkeypatch.setattr(installer.settings, "PORTICO_UV_CACHE", tmp_path / "cache")
    said: list[str] = []
    interpreter = default_interpreter()
    lock = installer.resolve(interpreter, ["brandnew"], said.append, deadline=float("inf"))
    answers += [False, False, True]
    made = installer.install(interpreter, lock, said.append, deadline=float("inf"))
    assert list(made.folder.rglob("brandnew.py"))
    assert answers == []
    assert sum("asking again" in line for line in said) == 2
