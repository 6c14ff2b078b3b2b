"""Who may see what, as people meet it in Chromium: the password and links also in a page of another site."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import Blog, click
from tests.e2e.readable import complaints
from tests.running_portal import ROOT, RunningPortal

pytestmark = pytest.mark.e2e
WORD = "open sesame"


def test_a_password_is_set_asked_for_in_another_sites_frame_and_remembered(
    admin_page: Page, browser: Browser, portal: RunningPortal, blog: Blog
) -> None:
    url = portal.deploy(ROOT / "tests" / "demos" / "static_page", "ada/locked-page")
    admin_page.goto(f"{portal.url}/spaces/ada/locked-page/settings")
    admin_page.get_by_label("Password", exact=True).fill(WORD)
    admin_page.get_by_role("button", name="Set it").click()
    expect(admin_page.get_by_text("The password is set.")).to_be_visible()
    admin_page.goto(f"{portal.url}/spaces/ada/locked-page")
    inside = admin_page.frame_locator("iframe").get_by_role("heading", name="Static page")
    expect(inside).to_be_visible()

    visitor = browser.new_context(java_script_enabled=False)  # the page works without
    page = visitor.new_page()
    address = blog.publish(f'<iframe src="{url}" title="Demo"></iframe>')
    page.goto(address)
    demo = page.frame_locator("iframe")
    demo.get_by_label("Password").fill("wrong")
    click(demo.get_by_role("button", name="Enter"))
    expect(demo.get_by_text("That is not the password.")).to_be_visible()
    demo.get_by_label("Password").fill(WORD)
    demo.get_by_label("Password").press("Enter")
    expect(demo.get_by_role("heading", name="Static page")).to_be_visible()
    page.goto(address)
    expect(demo.get_by_role("heading", name="Static page")).to_be_visible()
    visitor.close()


def test_the_page_that_asks_is_readable(page: Page, portal: RunningPortal) -> None:
    url = portal.deploy(ROOT / "tests" / "demos" / "static_page", "ada/asking-page")
    portal.shell("from apps.spaces.models import Space; from apps.spaces.services import set_password\n"
                  f"set_password(Space.objects.get(name='asking-page'), '{WORD}')")  # fmt: skip
    assert complaints(page, url, status=401) == []
    expect(page.get_by_role("heading", name="This Space asks for a password")).to_be_visible()


def test_the_settings_are_readable_and_a_link_opens_a_private_space_on_a_named_site(
    admin_page: Page, browser: Browser, portal: RunningPortal, blog: Blog
) -> None:
    portal.deploy(ROOT / "tests" / "demos" / "static_page", "ada/shared-page", "--private")
    settings = f"{portal.url}/spaces/ada/shared-page/settings"
    admin_page.goto(settings)
    admin_page.get_by_label("It works for").select_option("hour")
    admin_page.get_by_role("button", name="Make a link").click()
    link = admin_page.get_by_label("Address of the link", exact=True).input_value()
    admin_page.wait_for_load_state()
    admin_page.get_by_role("button", name="Copy the address of the link").click()
    expect(admin_page.get_by_text("Copied to the clipboard.")).to_be_attached()
    visitor = browser.new_context()
    page = visitor.new_page()
    address = blog.publish(f'<iframe src="{link}" title="Demo"></iframe>')
    shown = page.frame_locator("iframe").get_by_role("heading", name="Static page")
    page.goto(link)
    expect(page.get_by_role("heading", name="Static page")).to_be_visible()
    assert "__sign" not in page.url
    page.goto(address)
    page.wait_for_timeout(1000)
    expect(shown).to_have_count(0)
    admin_page.get_by_role("radio", name="On these sites only").check()
    admin_page.get_by_label("Sites", exact=True).fill(blog.url)
    admin_page.locator("form", has=admin_page.get_by_label("Sites", exact=True)).get_by_role("button").click()
    expect(admin_page.get_by_text("Saved.")).to_be_visible()
    page.goto(address)
    expect(shown).to_be_visible()
    visitor.close()
    admin_page.get_by_label("Domain", exact=True).fill("demo.example.org")
    admin_page.get_by_role("button", name="Add", exact=True).click()
    expect(admin_page.get_by_text("Pending")).to_be_visible()
    assert complaints(admin_page, settings, part="main") == []
