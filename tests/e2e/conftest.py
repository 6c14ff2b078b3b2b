"""A really running portal, and a Chromium to look at it with."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Playwright, expect

from tests.running_chromium import chromium
from tests.running_portal import ADMIN, RunningPortal
from tests.waiting import wait_until

expect.set_options(timeout=20_000)  # the machine may be busy


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = chromium(playwright)
    yield browser
    browser.close()


@pytest.fixture
def context(browser: Browser, tmp_path: Path) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def admin_page(page: Page, portal: RunningPortal) -> Page:
    """A page on which the administrator has signed in."""
    sign_in(page, portal, *ADMIN)
    return page


def sign_in(page: Page, portal: RunningPortal, name: str, password: str) -> None:
    page.goto(f"{portal.url}/accounts/login/")
    page.fill("input[name=login]", name)
    page.fill("input[name=password]", password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url(lambda url: "/accounts/login" not in url)


def click(target: Locator) -> None:
    """Click what is in a frame of another site, once the mouse reaches it.

    On a busy machine Chromium goes on for some tenths of a second to send the mouse to the page around a frame that has
    grown, wherever the frame was not before; Playwright asks the frame alone what is under the mouse.
    """

    def is_reached() -> bool:
        target.hover()
        return bool(target.evaluate("element => element.matches(':hover')"))

    wait_until(is_reached, what=lambda: f"the mouse does not reach {target}")
    target.click()


class Blog:
    """A folder of static files, served from another site than the portal's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        handler = functools.partial(QuietFiles, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def publish(self, body: str, *, head: str = "") -> str:
        """Write a page around `body` and return its address."""
        name = f"{len(list(self.folder.iterdir()))}.html"
        (self.folder / name).write_text(
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A blog</title>{head}</head>'
            f"<body><main><h1>A blog</h1>{body}</main></body></html>"
        )
        return f"{self.url}/{name}"


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def blog(tmp_path: Path) -> Iterator[Blog]:
    blog = Blog(tmp_path)
    yield blog
    blog.server.shutdown()
    blog.server.server_close()


def snippet(page: Page, portal: RunningPortal, space: str, label: str) -> str:
    """What "Embed this Space" gives under `label`, by its copy button."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=portal.url)
    page.goto(f"{portal.url}/spaces/{space}")
    page.get_by_role("button", name="Embed this Space").click()
    page.get_by_role("button", name=f"Copy: {label}").click()
    expect(page.get_by_text("Copied to the clipboard.")).to_be_attached()
    return str(page.evaluate("navigator.clipboard.readText()"))
