"""A Space of several workers in real browsers: each stays with one, and goes to the other when that one dies."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.running_agent import SERVER
from tests.running_portal import RunningPortal

pytestmark = pytest.mark.e2e

WHO = (
    SERVER
    + """
import uuid
ME = uuid.uuid4().hex
class Who(Handler):
    def answer(self):
        if self.path == "/die":
            os._exit(7)
        return ME + " " + str(self.headers["Cookie"])
serve(Who)
"""
)


def said(page: Page) -> str:
    return page.locator("body").inner_text()


def test_each_browser_stays_with_one_worker_and_moves_when_it_dies(
    admin_page: Page, browser: Browser, portal: RunningPortal, tmp_path: Path
) -> None:
    page = admin_page
    page.goto(f"{portal.url}/admin/spaces/plan/add/")
    page.get_by_label("Slug").fill("cpu-two")
    page.get_by_label("Name").fill("CPU twice")
    page.get_by_label("Replicas").fill("2")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("2 workers (replicas), each with")).to_be_visible()

    (tmp_path / "app.py").write_text(WHO)
    address = portal.deploy(tmp_path, "ada/who", "--sdk", "python")
    page.goto(f"{portal.url}/spaces/ada/who/settings")
    page.get_by_label("CPU twice").check()
    page.locator("#hardware").get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Restart now").click()
    expect(page.get_by_text("Restarting.")).to_be_visible()
    for _ in range(60):
        page.goto(f"{portal.url}/spaces/ada/who/settings")
        if page.get_by_text("2 of 2 workers answer now.").count():
            break
        page.wait_for_timeout(500)
    expect(page.locator("[data-replicas]")).to_contain_text("2 of 2 workers answer now.")

    first: dict[str, Page] = {}
    for _ in range(30):
        visitor = browser.new_context().new_page()
        visitor.goto(address)
        who = said(visitor)
        assert who.endswith(" None"), "the app never sees the cookie"
        (cookie,) = visitor.context.cookies(address)
        assert (cookie["name"], cookie["httpOnly"], cookie["expires"]) == ("portico_worker", True, -1)
        assert not cookie["domain"].startswith("."), "of this host alone"
        first.setdefault(who, visitor)
        for _ in range(3):
            visitor.reload()
            assert said(visitor) == who
        if len(first) == 2:
            break
    assert len(first) == 2, "browsers behind one address spread"

    (_, visitor), (other, _) = first.items()
    visitor.goto(f"{address}die")
    expect(visitor.locator("body")).to_contain_text("The app did not answer")
    visitor.goto(address)
    assert said(visitor) == other, "what ended one was not given to the other"
