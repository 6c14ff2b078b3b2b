"""A person in Chromium, the portal behind nginx as in public: TLS, HTTP/2, cookies of https, a demo in its frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Playwright, expect

from tests.deploy.conftest import Site
from tests.deploy.front import PORTAL
from tests.running_chromium import chromium

pytestmark = pytest.mark.e2e

DEMO = """
import gradio as gr

def greet(name, request: gr.Request):
    yield f"Hello {name}"
    yield f"Hello {name}, from {request.client.host}"

gr.Interface(greet, gr.Textbox(label="Name"), gr.Textbox(label="Greeting"), api_name="greet").launch()
"""


@pytest.fixture
def page(playwright: Playwright) -> Iterator[Page]:
    """In a browser that finds every name on this machine, as DNS would."""
    browser = chromium(playwright, "--host-resolver-rules=MAP *.example.* 127.0.0.1")
    page = browser.new_context(ignore_https_errors=True).new_page()
    page.set_default_timeout(60_000)
    yield page
    browser.close()


def test_a_private_demo_answers_its_owner_on_its_page(site: Site, page: Page, tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    demo.mkdir()
    (demo / "app.py").write_text(DEMO)
    site.portal.deploy(demo, "ada/private", "--private")
    portal = site.front.origin(PORTAL)
    problems: list[str] = []
    page.on("requestfailed", lambda r: problems.append(f"{r.url}: {r.failure}"))
    page.on("response", lambda r: r.status >= 500 and problems.append(f"{r.url}: {r.status}"))
    page.goto(f"{portal}/accounts/login/")
    page.fill("input[name=login]", "ada")
    page.fill("input[name=password]", site.password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url(lambda url: "/accounts/login" not in url)
    page.goto(f"{portal}/spaces/ada/private")
    frame = page.frame_locator("iframe").first
    frame.get_by_label("Name").fill("Bob")
    frame.get_by_role("button", name="Submit").click()
    expect(frame.get_by_label("Greeting")).to_have_value("Hello Bob, from 127.0.0.1", timeout=30_000)
    protocols = page.evaluate("performance.getEntriesByType('navigation').map(e => e.nextHopProtocol)")
    assert protocols == ["h2"]
    cookies = {c["name"]: c for c in page.context.cookies()}
    assert cookies["__Host-portico"]["secure"] and cookies["__Host-portico"]["httpOnly"]
    assert not [p for p in problems if "ERR_ABORTED" not in p]
