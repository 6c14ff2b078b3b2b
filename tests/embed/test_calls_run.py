"""The snippets of a Space's API page, run as they are shown, against a really running portal."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running_portal import ROOT, RunningPortal

pytestmark = pytest.mark.integration

CLIENTS = ROOT / "tests" / "clients"
SHOWN = """
from django.test import Client
from apps.accounts.models import User
client = Client(HTTP_HOST="localhost")
client.force_login(User.objects.get(username="ada"))
print(client.get("/spaces/ada/{name}/api").content.decode())
"""


def shown(portal: RunningPortal, name: str, language: str) -> list[str]:
    """The snippets of one language, as a person copies them."""
    page = portal.shell(SHOWN.format(name=name))
    return [
        html.unescape(found)
        for found in re.findall(rf'<code id="endpoint-\d+-{language}">(.*?)</code>', page, re.DOTALL)
    ]


def run(argv: list[str], token: str, folder: Path = ROOT, text: str | None = None) -> str:
    environment = {**os.environ, "HF_TOKEN": token, "GRADIO_ANALYTICS_ENABLED": "False"}
    done = subprocess.run(
        argv, env=environment, cwd=folder, input=text, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_python_snippet_answers(portal: RunningPortal, token: str) -> None:
    greet, ping, *_ = shown(portal, "closed", "python")
    assert run([sys.executable, "-c", greet], token).splitlines()[-1].startswith("Hello Hello!!!")
    assert run([sys.executable, "-c", ping], token).splitlines()[-1] == "pong"


def test_each_javascript_snippet_answers(portal: RunningPortal, token: str) -> None:
    greet, ping, *_ = shown(portal, "closed", "javascript")
    argv = ["node", "--input-type=module", "-"]
    assert "Hello Hello!!!" in run(argv, token, CLIENTS, greet)
    assert "pong" in run(argv, token, CLIENTS, ping)


@pytest.mark.parametrize("name", ["open", "closed"])
def test_each_curl_snippet_answers_in_a_plain_shell(portal: RunningPortal, token: str, name: str) -> None:
    greet = shown(portal, name, "curl")[0]
    used = token if name == "closed" else ""
    assert re.search(r'event: complete\ndata: \["Hello Hello!!!', run(["sh", "-c", greet], used))


def test_each_websocket_snippet_answers(portal: RunningPortal, token: str) -> None:
    greet, ping, *_ = shown(portal, "closed", "websocket")
    for snippet, said in ((greet, "Hello Hello!!!"), (ping, "pong")):
        assert f"'data': ['{said}" in run([sys.executable, "-c", snippet], token).splitlines()[-1]
    greet = shown(portal, "open", "websocket")[0]
    assert "'data': ['Hello Hello!!!" in run([sys.executable, "-c", greet], "").splitlines()[-1]
