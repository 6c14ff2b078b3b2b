"""Gradio's official JavaScript client, and curl as Gradio's API page shows it, against a really running portal.

The Python client is in test_real_apps.py; how both look from within a page, in tests/e2e.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.running_portal import ROOT, RunningPortal

pytestmark = pytest.mark.integration

CLIENTS = ROOT / "tests" / "clients"
DEMO = """
import threading, time
import gradio as gr

told, ended = threading.Event(), threading.Event()

def greet(name, request: gr.Request):
    return {"greeting": f"Hello {name}!", "headers": dict(request.headers)}

def count(number):
    for n in range(int(number)):
        time.sleep(0.05)
        yield str(n)

def shout(path):
    with open(path) as given, open("/tmp/shout.txt", "w") as said:
        said.write(given.read().upper())
    return "/tmp/shout.txt"

def sift(progress=gr.Progress()):
    told.clear()
    progress(0.25, desc="sifting")
    return "told" if told.wait(60) else "not told"

def endless():
    ended.clear()
    try:
        for n in range(1200):
            yield str(n)
            time.sleep(0.05)
    finally:
        ended.set()

def fails():
    raise gr.Error("It may not be.")

with gr.Blocks() as demo:
    gr.Button().click(greet, gr.Textbox(), gr.JSON(), api_name="greet")
    gr.Button().click(count, gr.Number(), gr.Textbox(), api_name="count")
    gr.Button().click(shout, gr.File(), gr.File(), api_name="shout")
    gr.Button().click(sift, None, gr.Textbox(), api_name="sift")
    gr.Button().click(told.set, api_name="told")
    gr.Button().click(endless, None, gr.Textbox(), api_name="endless")
    gr.Button().click(lambda: ended.wait(2), None, gr.Checkbox(), api_name="ended")
    gr.Button().click(fails, None, gr.Textbox(), api_name="fails")
demo.launch()
"""
ADDRESSES = ["host", "path"]


@pytest.fixture(scope="module", autouse=True)
def spaces(portal: RunningPortal, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One demo as two Spaces, a public one and a private one."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "app.py").write_text(DEMO)
    (folder / "README.md").write_text("---\nsdk: gradio\napp_file: app.py\n---\n")
    portal.deploy(folder, "ada/open")
    portal.deploy(folder, "ada/closed", "--private")


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "given.txt"
    path.write_text("quiet")
    return path


def address(portal: RunningPortal, space: str, kind: str) -> str:
    return f"http://{portal.host(f'ada-{space}')}/" if kind == "host" else f"{portal.url}/run/ada/{space}/"


def in_node(url: str, given: Path, token: str = "", option: str = "token") -> dict[str, Any]:
    """What the client gets.

    Args:
        url: the demo's address.
        given: a file to send.
        token: an access token, or nothing.
        option: of the client, which takes the token.

    Raises:
        RuntimeError: it failed; the text is what it wrote.
    """
    assert (CLIENTS / "node_modules").is_dir(), "the JavaScript client is missing; install it with: make setup-test"
    argv = ["node", "calls.mjs", url, option, token, str(given)]
    done = subprocess.run(argv, cwd=CLIENTS, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr or f"it ended with status {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("kind", ADDRESSES)
@pytest.mark.parametrize(("space", "option"), [("open", ""), ("closed", "token"), ("closed", "hf_token")])
def test_the_javascript_client_does_everything(
    portal: RunningPortal, token: str, given: Path, space: str, option: str, kind: str
) -> None:
    url = address(portal, space, kind)
    said = in_node(url, given, token if option else "", option)
    assert said["root"] == url.rstrip("/")
    assert said["greet"]["greeting"] == "Hello Bob!" and said["named"]["greeting"] == "Hello Ann!"
    assert said["count"] == ["0", "1", "2", "3", "3"], "once as it comes, once as the result"
    assert said["progress"] == [0.25, "sifting"] and said["sift"] == "told"
    for way in ("path", "blob"):
        status, file, text = said[way]
        assert (status, text) == (200, "QUIET") and file.startswith(url)
    # The client does not send its token with a cancellation (`cancel` in its submit.ts), which is a stranger's then.
    assert said["cancelled"] is (space == "open")
    assert said["error"] == "It may not be."
    assert token not in json.dumps(said), "the app saw the visitor's token"


@pytest.mark.parametrize("kind", ADDRESSES)
def test_a_stranger_with_the_javascript_client_cannot_tell_a_private_space_from_none(
    portal: RunningPortal, given: Path, kind: str
) -> None:
    def failure(space: str, token: str = "") -> str:
        with pytest.raises(RuntimeError) as caught:
            in_node(address(portal, space, kind), given, token)
        return str(caught.value).replace(space, "it")

    assert failure("closed") == failure("absent") != ""
    assert failure("closed", "hf_" + "x" * 34) == failure("absent", "hf_" + "x" * 34)


def curl(*lines: str, token: str = "") -> str:
    """What the shell prints; `read` at the end of a pipe keeps what it read, as in zsh, whose syntax the page uses."""
    text = "\n".join(lines)
    if token:
        text = re.sub(r"\bcurl ", 'curl -H "Authorization: Bearer $HF_TOKEN" ', text)
    done = subprocess.run(
        ["bash", "-O", "lastpipe", "-c", text], env={**os.environ, "HF_TOKEN": token},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def events(said: str) -> list[tuple[str, Any]]:
    """Names and data of an event stream."""
    return [(name, json.loads(data)) for name, data in re.findall(r"event: (\w+)\ndata: (.*)\n", said)]


@pytest.mark.parametrize("kind", ADDRESSES)
@pytest.mark.parametrize("space", ["open", "closed"])
def test_curl_works_as_the_api_page_shows_it(
    portal: RunningPortal, token: str, given: Path, space: str, kind: str
) -> None:
    root = address(portal, space, kind) + "gradio_api"
    used = token if space == "closed" else ""

    def two_steps(first: str, name: str, body: str) -> list[tuple[str, Any]]:
        return events(
            curl(
                f"""curl -X POST {root}/{first} -s -H "Content-Type: application/json" -d '{body}' \\""",
                """  | awk -F'"' '{ print $4}' \\""",
                f"  | read EVENT_ID; curl -N {root}/call/{name}/$EVENT_ID",
                token=used,
            )
        )

    ((name, data),) = two_steps("call/greet", "greet", '{"data": ["Bob"]}')
    assert name == "complete" and data[0]["greeting"] == "Hello Bob!"
    assert data[0]["headers"].get("authorization") is None
    names = json.loads(curl(f"curl -s {root}/info", token=used))["named_endpoints"]["/count"]["parameters"]
    (parameter,) = (one["parameter_name"] for one in names)
    said = two_steps("call/v2/count", "count", json.dumps({parameter: 3}))
    assert said == [("generating", ["0"]), ("generating", ["1"]), ("generating", ["2"]), ("complete", ["2"])]
    (path,) = json.loads(curl(f"curl -s -F files=@{given} {root}/upload", token=used))
    file = json.dumps({"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]})
    ((name, data),) = two_steps("call/shout", "shout", file)
    assert name == "complete" and data[0]["url"].startswith(address(portal, space, kind))
    assert curl(f"curl -s '{data[0]['url']}'", token=used) == "QUIET"


@pytest.mark.parametrize("kind", ADDRESSES)
def test_a_stranger_with_curl_cannot_tell_a_private_space_from_none(portal: RunningPortal, kind: str) -> None:
    def refusal(space: str) -> str:
        root = address(portal, space, kind) + "gradio_api"
        said = curl(
            f"""curl -s -i -X POST {root}/call/greet -H "Content-Type: application/json" -d '{{"data": ["Bob"]}}'""",
            f"curl -s -i {root}/call/greet/{'0' * 32}",
            f"curl -s -i {root}/info",
        )
        return re.sub(r"(?im)^(date|x-request-id): .*$", "", said).replace(space, "it")

    closed = refusal("closed")
    assert closed.count("HTTP/1.1 404") == 3
    assert closed == refusal("absent")
