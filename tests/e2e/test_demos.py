"""Demos of every kind answer the same through the portal as they do when run directly."""

from __future__ import annotations

import functools
import re
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from playwright.sync_api import Locator, Page, expect

from tests.e2e.answers import answers, own_login
from tests.e2e.directly import local_getaddrinfo, run_directly
from tests.running_portal import ROOT, RunningPortal

pytestmark = pytest.mark.e2e

DEMOS = ROOT / "tests" / "demos"
GRADIO_DEMOS = sorted(folder.parent.name for folder in DEMOS.glob("*/calls.json"))


@pytest.fixture(autouse=True)
def spaces_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", local_getaddrinfo)


@pytest.fixture(scope="module")
def deployed(portal: RunningPortal) -> Callable[[str], str]:
    """`deployed("image_filter")` is the own address of that demo, deployed when it is first asked for."""
    return functools.cache(lambda name: portal.deploy(DEMOS / name, f"ada/{name.replace('_', '-')}"))


@pytest.mark.parametrize("name", GRADIO_DEMOS)
def test_a_demo_answers_the_same_through_the_portal_as_directly(
    name: str, page: Page, portal: RunningPortal, deployed: Callable[[str], str], tmp_path: Path
) -> None:
    folder, slug = DEMOS / name, name.replace("_", "-")
    host = deployed(name)
    on_its_host = answers(host, folder)
    # An app's own login needs its cookies, which the portal's origin never passes on.
    on_the_portal = on_its_host if own_login(folder) else answers(f"{portal.url}/run/ada/{slug}/", folder)
    with run_directly(portal, folder, tmp_path) as url:
        directly = answers(url, folder)
        assert numbers(host, folder) == numbers(url, folder) != []
        for address in [host, url] if name in OWN_SCRIPTS_AND_PATHS else [host]:
            if holds := IN_THE_BROWSER.get(name):
                page.goto(address)
                holds(page)
    assert on_its_host == directly
    assert on_the_portal == directly
    assert any(answer is not None for answer in directly)


def numbers(url: str, folder: Path) -> list[tuple[int, str]]:
    """The app's components, as its own styles and scripts may name them: `#component-<number>`."""
    with httpx.Client(base_url=url) as client:
        if (auth := own_login(folder)) is not None:
            client.post("login", data={"username": auth[0], "password": auth[1]}).raise_for_status()
        return [(c["id"], c["type"]) for c in client.get("config").raise_for_status().json()["components"]]


def renders_as_it_is_asked(page: Page) -> None:
    page.get_by_label("number input for How many").fill("4")
    page.get_by_label("number input for How many").press("Tab")
    page.get_by_label("Box 4").fill("quiet please")
    page.get_by_label("Box 4").press("Enter")
    expect(page.get_by_label("Echo 4")).to_have_value("QUIET PLEASE")
    expect(page.get_by_label("Box 5")).to_have_count(0)


def has_its_own_look(page: Page) -> None:
    expect(page).to_have_title("Made by script")
    expect(page.locator("body")).to_have_attribute("data-script", "ran")
    expect(page.locator("meta[name=demo-head]")).to_have_attribute("content", "here")
    page.get_by_label("Text", exact=True).fill("drawer")
    page.get_by_role("button", name="Turn round").click()
    expect(page.get_by_label("Backwards")).to_have_value("reward")
    expect(page.get_by_label("Length, counted in the browser")).to_have_value("6 characters")
    expect(page.locator("#answer textarea")).to_have_css("background-color", "rgb(255, 250, 205)")
    expect(page.locator(".gradio-container").first).to_have_css("border-top", "6px solid rgb(180, 60, 90)")


def has_a_second_page(page: Page) -> None:
    page.get_by_role("link", name="Distance").click()
    expect(page).to_have_url(re.compile("/distance/?$"))
    page.get_by_label("Kilometres").fill("42.195")
    page.get_by_role("button", name="Convert").click()
    expect(page.get_by_label("Miles")).to_have_value("26.219")


def draws_a_plot(page: Page) -> None:
    page.get_by_role("button", name="Submit").click()
    assert len(set(colours(page.get_by_test_id("matplotlib").locator("img")))) > 10


def draws_a_picture(page: Page) -> None:
    page.locator("input[type=file]").first.set_input_files(DEMOS / "image_filter" / "picture.png")
    page.get_by_role("button", name="Submit").click()
    given, negative = (colours(page.locator("img[src*='/gradio_api/file=']").nth(number)) for number in (0, 1))
    assert [255 - colour for colour in given] == pytest.approx(negative, abs=2)


def draws_a_table(page: Page) -> None:
    page.get_by_role("button", name="Add up").click()
    expect(page.get_by_test_id("header-3")).to_contain_text("total")
    expect(page.get_by_test_id("cell-1-3")).to_have_text("3.6")
    expect(page.get_by_label("Total", exact=True)).to_have_value("8.6")


def colours(image: Locator) -> list[int]:
    """Red, green and blue of each part of an image, once it is there."""
    found: list[int] = image.evaluate(
        """async (image) => {
            await image.decode();
            const canvas = new OffscreenCanvas(16, 16).getContext("2d");
            canvas.drawImage(image, 0, 0, 16, 16);
            return [...canvas.getImageData(0, 0, 16, 16).data].filter((_, number) => number % 4 < 3);
        }"""
    )
    return found


IN_THE_BROWSER: dict[str, Callable[[Page], None]] = {
    "dynamic_render": renders_as_it_is_asked, "custom_look": has_its_own_look, "multipage": has_a_second_page,
    "plot_wave": draws_a_plot, "image_filter": draws_a_picture, "dataframe_totals": draws_a_table,
}  # fmt: skip
"""What a visitor finds in each of these, whichever way it was reached."""
OWN_SCRIPTS_AND_PATHS = {"dynamic_render", "custom_look", "multipage"}
"""Demos whose pages could differ although what they answer does not."""


def test_an_apps_own_login_lets_nobody_in_without_the_password(deployed: Callable[[str], str]) -> None:
    host = deployed("password")
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
