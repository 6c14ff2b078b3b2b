from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from apps.accounts.models import User
from apps.spaces.models import Space
from apps.spaces.services import create_space
from tests.running_portal import RunningPortal

DEMO = """
import asyncio
import pathlib
import time

import gradio as gr

COUNTED = pathlib.Path("/tmp/counted.txt")

def greet(name, times=2):
    return " ".join([f"Hello {name}!"] * int(times))

def count(number, before):
    for n in range(int(number)):
        time.sleep(0.05)
        COUNTED.write_text(str(n + 1))
        yield f"counted {n + 1}", n

def slowly(seconds, progress=gr.Progress()):
    progress(0, desc="Beginning")
    for n in range(5):
        time.sleep(seconds / 5)
        progress((n + 1, 5), unit="steps")
    gr.Info("Nearly there")
    return "done"

async def naps(seconds):
    await asyncio.sleep(seconds)
    return "awake"

def flood(number):
    for n in range(int(number)):
        yield "x" * 200_000 + str(n)

def shout(path):
    said = pathlib.Path("/tmp/shout.txt")
    said.write_text(pathlib.Path(path).read_text().upper())
    return str(said)

def fails():
    raise gr.Error("It may not be.")

with gr.Blocks() as demo:
    state = gr.State()
    gr.Button().click(greet, [gr.Textbox("O'Brien"), gr.Number(2)], gr.Textbox(), api_name="greet")
    gr.Button().click(lambda: "pong", None, gr.Textbox(), api_name="nested/ping")
    gr.Button().click(count, [gr.Number(3), state], [gr.Textbox(), state], api_name="count")
    gr.Button().click(lambda: COUNTED.read_text(), None, gr.Textbox(), api_name="counted")
    gr.Button().click(slowly, gr.Number(1), gr.Textbox(), api_name="slowly", concurrency_limit=1)
    gr.Button().click(naps, gr.Number(1), gr.Textbox(), api_name="naps")
    gr.Button().click(flood, gr.Number(100), gr.Textbox(), api_name="flood")
    gr.Button().click(shout, gr.File(), gr.File(), api_name="shout")
    gr.Button().click(fails, None, gr.Textbox(), api_name="fails")
demo.launch()
"""


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPortal]:
    """A portal with `DEMO` as `ada/open` and, private, as `ada/closed`, whose pages were taken."""
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


@pytest.fixture(scope="session")
def token(portal: RunningPortal) -> str:
    return portal.token("ada")


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada", "ada@example.org", "correct-horse-battery")


@pytest.fixture
def space(ada: User) -> Space:
    """A public Gradio Space, `ada/hello`."""
    space = create_space(ada.namespace, "hello", user=ada)
    Space.objects.filter(pk=space.pk).update(title="Hello & <friends>", stage="RUNNING")
    space.refresh_from_db()
    return space
