"""Demos of every kind answer the same through the portal as they do when run directly."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from tests.e2e.answers import answers
from tests.e2e.directly import local_getaddrinfo, run_directly
from tests.running_portal import ROOT, RunningPortal

pytestmark = pytest.mark.e2e

DEMOS = ROOT / "tests" / "demos"
GRADIO_DEMOS = sorted(folder.parent.name for folder in DEMOS.glob("*/calls.json"))


@pytest.fixture(autouse=True)
def spaces_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", local_getaddrinfo)


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
