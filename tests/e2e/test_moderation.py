"""A report's way: sent by a visitor, seen live by a moderator, acted on, undone; in Chromium, on a running portal."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import ADMIN, sign_in
from tests.running_portal import RunningPortal
from tests.waiting import wait_until

pytestmark = pytest.mark.e2e

SERVER = """\
import http.server, os


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"here": true}')


http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""
WITHIN_SECONDS = 2


@pytest.fixture
def reported(portal: RunningPortal, tmp_path: Path) -> str:
    """A Space of somebody's own that runs."""
    (tmp_path / "README.md").write_text("---\nsdk: python\napp_file: app.py\n---\n")
    (tmp_path / "app.py").write_text(SERVER)
    portal.deploy(tmp_path, "ada/reported")
    assert portal.get("/", host=portal.host("ada-reported"))[0] == 200
    return "ada/reported"


def test_a_report_appears_live_and_what_follows_is_everywhere_within_two_seconds(
    page: Page, browser: Browser, portal: RunningPortal, reported: str
) -> None:
    sign_in(page, portal, *ADMIN)
    page.goto(f"{portal.url}/moderation/")
    expect(page.locator("[data-live]")).to_contain_text("Live")

    visitor = browser.new_page()
    visitor.goto(f"{portal.url}/spaces/{reported}/report")
    visitor.select_option("select[name=category]", "malware")
    visitor.fill("textarea[name=text]", "It mines coins.")
    visitor.get_by_role("button", name="Send the report").click()
    expect(visitor.get_by_role("heading", name="Thank you")).to_be_visible()
    visitor.close()

    row = page.locator("[data-report]", has_text=reported)
    expect(row).to_be_visible(timeout=5_000)  # without a reload
    row.get_by_role("link", name=reported).click()

    def statuses() -> set[int]:
        host = portal.host(reported.replace("/", "-"))
        return {
            portal.get("/", host=host)[0],
            portal.get("/gradio_api/info", host=host)[0],
            portal.get(f"/run/{reported}/config")[0],
            portal.get(f"/spaces/{reported}")[0],
            portal.get(f"/embed/spaces/{reported}")[0],
            portal.get(f"/api/spaces/{reported}")[0],
        }

    page.get_by_role("link", name="Take down").click()
    page.fill("textarea[name=reason]", "Mining is not allowed.")
    page.get_by_role("button", name="Take down").click()
    expect(page.locator("main")).to_contain_text("Restore")
    wait_until(lambda: statuses() == {410}, WITHIN_SECONDS, lambda: str(statuses()))
    expect(page.locator("main")).to_contain_text("Mining is not allowed.")
    page.goto(f"{portal.url}/moderation/")
    expect(page.locator("[data-report]", has_text=reported)).to_have_count(0)

    page.goto(f"{portal.url}/moderation/?show=handled")
    page.locator("[data-report]", has_text=reported).get_by_role("link", name=reported).first.click()
    page.get_by_role("link", name="Restore").click()
    page.fill("textarea[name=reason]", "They took the miner out.")
    page.get_by_role("button", name="Restore").click()
    host = portal.host(reported.replace("/", "-"))
    wait_until(lambda: portal.get("/", host=host)[0] == 200, 20)
    assert portal.get(f"/spaces/{reported}")[0] == 200

    page.goto(f"{portal.url}/moderation/log?target={reported}")
    for reason in ("Mining is not allowed.", "They took the miner out."):
        expect(page.locator("main")).to_contain_text(reason)
