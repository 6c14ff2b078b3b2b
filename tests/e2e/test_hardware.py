"""An administrator defines hardware, an owner chooses it, and what the app keeps is there after a restart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.running_agent import SERVER
from tests.running_portal import RunningPortal

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount what a Space keeps")]

COUNTER = (
    SERVER
    + """
import pathlib
class Counts(Handler):
    def answer(self):
        if not os.path.isdir("/data"):
            return "keeps nothing"
        file = pathlib.Path("/data/visits")
        count = int(file.read_text()) + 1 if file.exists() else 1
        if self.path == "/count":
            file.write_text(str(count))
        return f"visit {count}"
serve(Counts)
"""
)


def test_hardware_is_defined_chosen_and_keeps_what_the_app_writes(
    admin_page: Page, portal: RunningPortal, tmp_path: Path
) -> None:
    page = admin_page
    page.goto(f"{portal.url}/admin/spaces/plan/add/")
    page.get_by_label("Slug").fill("cpu-keeps")
    page.get_by_label("Name").fill("CPU with a disk")
    page.get_by_label("Memory").fill("512 MiB")
    page.get_by_label("Persistent storage").fill("64 MiB")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("512 MiB memory")).to_be_visible()

    (tmp_path / "app.py").write_text(COUNTER)
    address = portal.deploy(tmp_path, "ada/counter", "--sdk", "python")
    page.goto(address)
    expect(page.locator("body")).to_have_text("keeps nothing")

    page.goto(f"{portal.url}/spaces/ada/counter/settings")
    expect(page.locator("[data-started]")).to_contain_text("by a fork of a process that had imported")
    page.get_by_label("CPU with a disk").check()
    page.locator("#hardware").get_by_role("button", name="Save").click()
    expect(page.locator(".notice-success")).to_contain_text("Its hardware is CPU with a disk from its next start on")
    page.get_by_role("button", name="Restart now").click()
    expect(page.get_by_text("Restarting.")).to_be_visible()
    page.goto(f"{portal.url}/spaces/ada/counter")
    expect(page.locator("[data-stage]").first).to_have_attribute("data-stage", "RUNNING", timeout=60_000)
    page.goto(f"{address}count")
    expect(page.locator("body")).to_have_text("visit 1")

    page.goto(f"{portal.url}/spaces/ada/counter/settings")
    expect(page.locator("#hardware")).to_contain_text("of 64 MiB used.")
    expect(page.get_by_role("button", name="Restart now")).to_have_count(0)
    page.get_by_label("Sleep when idle for").select_option("1 hour")
    page.locator("form:has(#sleep)").get_by_role("button", name="Save").click()
    expect(page.get_by_label("Sleep when idle for")).to_have_value("3600")
    portal.command("sleep", "ada/counter")
    page.goto(address)
    expect(page.locator("body")).to_have_text("visit 2", timeout=60_000)


def test_the_administrator_finds_what_holds(admin_page: Page, portal: RunningPortal) -> None:
    page = admin_page
    page.goto(f"{portal.url}/admin/")
    page.get_by_role("link", name="Health", exact=True).click()
    expect(page.locator("[data-health]")).to_contain_text("memory free")
    for name in ("Database", "Sandbox", "Limits", "Storage"):
        expect(page.locator("[data-health] strong", has_text=name).first).to_be_visible()
