"""Every page, in both themes and at a phone's width: readable by everyone, nothing beside the edge, no errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from tests.e2e.conftest import ADMIN, sign_in
from tests.running_agent import HELLO
from tests.running_portal import RunningPortal

pytestmark = pytest.mark.e2e

SPACE = "/spaces/ada/page"
PAGES = [
    "/", "/spaces", "/spaces?q=nothing-like-it", "/ada", "/new-space", "/settings", "/settings/tokens", "/moderation/",
    SPACE, *(f"{SPACE}/{part}" for part in (
        "tree/main", "blob/main/index.html", "edit/main/index.html", "edit/main", "upload/main", "commits/main", "logs",
        "settings", "report",
    )), "/spaces/ada/served/settings", "/spaces/ada/served/logs",
    "/spaces/ada/wrong", "/spaces/ada/empty", "/spaces/nobody/nothing",
]  # fmt: skip
FOR_STRANGERS = ["/", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", SPACE]


@pytest.fixture(scope="module")
def filled(portal: RunningPortal, tmp_path_factory: pytest.TempPathFactory) -> RunningPortal:
    """The portal with a static Space, one that runs, one whose front matter is wrong, and a private one."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text("<!doctype html><html lang=en><title>Page</title><h1>A page</h1>" + "x" * 300)
    portal.deploy(folder, "ada/page")
    (folder / "app.py").write_text(HELLO)
    portal.deploy(folder, "ada/served", "--sdk", "python")
    (folder / "README.md").write_text("---\nsdk: [\n---\n")
    assert "CONFIG_ERROR" in portal.command("deploy", str(folder), "ada/wrong", check=False).stdout
    return portal


@pytest.fixture(params=["light-1280", "dark-1280", "light-375", "dark-375"])
def sized(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    theme, _, width = request.param.partition("-")
    context = browser.new_context(color_scheme=theme, viewport={"width": int(width), "height": 760})
    page = context.new_page()
    yield page
    context.close()


def complaints(page: Page, url: str, part: str | None = None) -> list[str]:
    """What is wrong with a page: errors, overflow, and what axe finds in our part of it."""
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.goto(url)
    page.wait_for_load_state("load")
    over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if over > 0:
        said.append(f"{over} px too wide")
    found = Axe().run(page, part, options={"iframes": False}).response["violations"]
    return said + [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found]


def test_no_page_shuts_anybody_out(sized: Page, filled: RunningPortal) -> None:
    wrong = {path: found for path in FOR_STRANGERS if (found := complaints(sized, filled.url + path))}
    sign_in(sized, filled, *ADMIN)
    wrong |= {path: found for path in PAGES if (found := complaints(sized, filled.url + path))}
    assert wrong == {}


def test_the_admin_s_health_page_shuts_nobody_out(sized: Page, filled: RunningPortal) -> None:
    """The frame around it is django-unfold's."""
    sign_in(sized, filled, *ADMIN)
    assert complaints(sized, f"{filled.url}/admin/health/", "[data-health]") == []


def test_the_frame_says_that_the_demo_loads_until_it_has(page: Page, filled: RunningPortal) -> None:
    said: list[str] = []
    loading = page.get_by_role("status").filter(has_text="Loading the demo")

    def look_first(route: Route) -> None:
        loading.wait_for()
        said.append(loading.inner_text())
        route.continue_()

    page.route(re.compile(r"//ada-page\.spaces\.[^/]+/$"), look_first)
    page.goto(filled.url + SPACE)
    h1 = page.frame_locator("iframe[src*='spaces.localhost']").locator("h1")
    expect(h1).to_have_text("A page", timeout=30_000)
    expect(page.locator("[data-loading]")).to_have_count(0)
    assert said


@pytest.mark.parametrize("width", [390, 700, 1280])
def test_no_choice_of_sdk_stands_alone_in_its_row(page: Page, filled: RunningPortal, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    sign_in(page, filled, *ADMIN)
    page.goto(f"{filled.url}/new-space")
    tops = page.locator(".choice:has([name=sdk])").evaluate_all(
        "cards => cards.map(c => c.getBoundingClientRect().top)"
    )
    rows = [tops.count(top) for top in sorted(set(tops))]
    assert len(tops) == 4 and len(set(rows)) == 1, rows


def test_a_space_is_made_with_the_keyboard_alone(page: Page, filled: RunningPortal, tmp_path: Path) -> None:
    sign_in(page, filled, *ADMIN)
    page.goto(f"{filled.url}/new-space")
    page.get_by_label("Name", exact=True).focus()
    page.keyboard.type("typed")
    expect(page.locator("#name-hint")).to_contain_text("Free: ada/typed")
    page.keyboard.press("Tab")
    for _ in range(2):  # Gradio, Streamlit, Static
        page.keyboard.press("ArrowDown")
    assert page.locator("input[name=sdk]:checked").get_attribute("value") == "static"
    (tmp_path / "index.html").write_text("<h1>Typed</h1>")
    page.get_by_label("Choose files").set_input_files(tmp_path / "index.html")
    expect(page.locator("[data-upload-list]")).to_contain_text("index.html")
    create = page.get_by_role("button", name="Create Space")
    expect(create).to_be_enabled()
    create.focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-stage]").first).to_have_attribute("data-stage", "RUNNING", timeout=60_000)
    expect(page.frame_locator("iframe[src*='spaces.localhost']").locator("h1")).to_have_text("Typed")
