"""The snippets of a Space's API page, run as they are shown, against a really running portal."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running_portal import ROOT, RunningPortal

pytestmark = pytest.mark.integration

CLIENTS = ROOT / "tests" / "clients"
DEMO = """
import gradio as gr

def greet(name, times=2):
    return " ".join([f"Hello {name}!"] * int(times))

with gr.Blocks() as demo:
    gr.Button().click(greet, [gr.Textbox("O'Brien"), gr.Number(2)], gr.Textbox(), api_name="greet")
    gr.Button().click(lambda: "pong", None, gr.Textbox(), api_name="nested/ping")
demo.launch()
"""


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPortal]:
    folder = tmp_path_factory.mktemp("demo")
    (folder / "app.py").write_text(DEMO)
    (folder / "README.md").write_text("---\nsdk: gradio\napp_file: app.py\n---\n")
    with RunningPortal(tmp_path_factory.mktemp("real"), PORTICO_ADMIN="ada:correct-horse-battery") as running:
        running.deploy(folder, "ada/open")
        running.deploy(folder, "ada/closed", "--private")
        for name in ("open", "closed"):
            taken(running, name)
        yield running


def taken(portal: RunningPortal, name: str) -> None:
    found = f"Snapshot.objects.filter(deployment__space__name={name!r}).count()"
    code = f"from apps.gateway.models import Snapshot\nprint({found})"
    for _ in range(60):
        if portal.shell(code).strip() == "1":
            return
        time.sleep(0.5)
    raise AssertionError("its page was not taken")


@pytest.fixture(scope="module")
def token(portal: RunningPortal) -> str:
    return portal.token("ada")


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
    greet, ping = shown(portal, "closed", "python")
    assert run([sys.executable, "-c", greet], token).splitlines()[-1].startswith("Hello Hello!!!")
    assert run([sys.executable, "-c", ping], token).splitlines()[-1] == "pong"


def test_each_javascript_snippet_answers(portal: RunningPortal, token: str) -> None:
    greet, ping = shown(portal, "closed", "javascript")
    argv = ["node", "--input-type=module", "-"]
    assert "Hello Hello!!!" in run(argv, token, CLIENTS, greet)
    assert "pong" in run(argv, token, CLIENTS, ping)


@pytest.mark.parametrize("name", ["open", "closed"])
def test_each_curl_snippet_answers_in_a_plain_shell(portal: RunningPortal, token: str, name: str) -> None:
    (greet,) = shown(portal, name, "curl")
    used = token if name == "closed" else ""
    assert re.search(r'event: complete\ndata: \["Hello Hello!!!', run(["sh", "-c", greet], used))
