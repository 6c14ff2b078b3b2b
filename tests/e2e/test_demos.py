"""Demos of every kind answer the same through the portal as they do when run directly."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from tests.e2e.answers import answers
from tests.running_portal import ROOT, RunningPortal, free_port

pytestmark = pytest.mark.e2e

DEMOS = ROOT / "tests" / "demos"
GRADIO_DEMOS = sorted(folder.parent.name for folder in DEMOS.glob("*/calls.json"))


@contextmanager
def run_directly(portal: RunningPortal, folder: Path, home: Path) -> Iterator[str]:
    """Run the demo as `python app.py` with the Environment that the portal built for it."""
    copy = home / "app"
    shutil.copytree(folder, copy)
    port = free_port()
    python = environment_with_gradio(portal, folder) / "bin" / "python"
    process = subprocess.Popen(
        [str(python), "app.py"], cwd=copy, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "GRADIO_SERVER_PORT": str(port),
             "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(home / "gradio")},
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}/"
        wait_until_it_answers(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def environment_with_gradio(portal: RunningPortal, folder: Path) -> Path:
    """An Environment with Gradio and whatever the demo's requirements name."""
    requirements = folder / "requirements.txt"
    names = requirements.read_text().split() if requirements.exists() else []
    for environment in (portal.data / "environments").iterdir():
        packages = next(iter(environment.glob("lib/python*/site-packages")), None)
        if packages and all((packages / name.split("=")[0].replace("-", "_")).is_dir() for name in ["gradio", *names]):
            return environment
    raise AssertionError(f"no Environment of the portal has what {folder.name} needs")


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, follow_redirects=True).status_code < 500:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer (exit status {process.poll()})")


@pytest.fixture(autouse=True)
def spaces_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve `*.localhost` as browsers do (RFC 6761, section 6.3); the C library does not."""
    resolve = socket.getaddrinfo

    def local(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return resolve("127.0.0.1" if name and name.endswith(".localhost") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", local)


@pytest.mark.parametrize("name", GRADIO_DEMOS)
def test_a_demo_answers_the_same_through_the_portal_as_directly(
    name: str, portal: RunningPortal, tmp_path: Path
) -> None:
    folder, slug = DEMOS / name, name.replace("_", "-")
    host = portal.deploy(folder, f"ada/{slug}")
    on_its_host = answers(host, folder)
    # An app's own login needs its cookies, which the portal's origin never passes on.
    has_login = "auth" in (folder / "calls.json").read_text()
    on_the_portal = on_its_host if has_login else answers(f"{portal.url}/run/ada/{slug}/", folder)
    with run_directly(portal, folder, tmp_path) as url:
        directly = answers(url, folder)
        assert numbers(host) == numbers(url)
    assert on_its_host == directly
    assert on_the_portal == directly
    assert any(answer is not None for answer in directly)


def numbers(url: str) -> list[tuple[int, str]]:
    """The app's components, as its own styles and scripts may name them: `#component-<number>`."""
    return [(c["id"], c["type"]) for c in httpx.get(f"{url}config").json().get("components", [])]


def test_an_apps_own_login_lets_nobody_in_without_the_password(portal: RunningPortal) -> None:
    host = portal.deploy(DEMOS / "password", "ada/password")
    assert httpx.get(f"{host}config").status_code == 401
    with pytest.raises(ValueError, match="Could not login"):
        Client(host, auth=("ada", "wrong"), verbose=False)


def test_streamlit_works_over_its_websocket(page: Page, portal: RunningPortal) -> None:
    host = portal.deploy(DEMOS / "streamlit_counter", "ada/streamlit-counter")
    sockets: list[str] = []
    page.on("websocket", lambda opened: sockets.append(opened.url))
    page.goto(host)
    page.get_by_role("button").filter(has_text=re.compile("add|count|more|\\+", re.I)).first.click()
    expect(page.locator("body")).to_contain_text("1", timeout=20_000)
    assert any("/_stcore/stream" in url for url in sockets)


def test_a_static_space_and_a_plain_server_are_served(page: Page, portal: RunningPortal) -> None:
    page.goto(portal.deploy(DEMOS / "static_page", "ada/static-page"))
    expect(page.locator("h1")).to_be_visible()
    assert httpx.get(portal.deploy(DEMOS / "python_server", "ada/python-server")).status_code == 200
