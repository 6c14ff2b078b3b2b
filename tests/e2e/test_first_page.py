"""What a visitor to a sleeping Space sees: its page at once, which works as soon as they use it."""

from __future__ import annotations

import json
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPMessage

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Response, expect

from tests.running_portal import ROOT, RunningPortal

pytestmark = pytest.mark.e2e

DEMOS = ROOT / "tests" / "demos"
FACTS = """
import json
from apps.gateway.models import Snapshot
found = Snapshot.objects.filter(deployment__space__name={name!r}, deployment__is_current=True).first()
print(json.dumps(found and [found.digest, found.refusal, found.has_plain_assets]))
"""


def taken(portal: RunningPortal, name: str) -> tuple[str, str, bool]:
    """What came of taking the page of `ada/<name>`: digest, refusal, whether Gradio's files are its own."""
    for _ in range(60):
        found = json.loads(portal.shell(FACTS.format(name=name)))
        if found:
            return tuple(found)
        time.sleep(0.5)
    raise AssertionError("no snapshot was taken")


SLEEP = """
import time
from apps.runtime.models import Worker
from apps.spaces.models import Space
from apps.spaces.services import sleep_space
space = Space.objects.get(name={name!r})
sleep_space(space)
until = time.monotonic() + 30
while Worker.objects.filter(space=space).exclude(state="ended").exists():
    assert time.monotonic() < until, "it does not sleep"
    time.sleep(0.05)
"""


def put_to_sleep(portal: RunningPortal, name: str) -> None:
    portal.shell(SLEEP.format(name=name))


def ask(portal: RunningPortal, host: str, path: str) -> tuple[HTTPMessage, bytes]:
    """GET from a Space's host."""
    with closing(HTTPConnection("127.0.0.1", portal.port, timeout=60)) as connection:
        connection.request("GET", f"/{path}", headers={"Host": host})
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.headers, answer.read()


def deployed(portal: RunningPortal, demo: str) -> str:
    """Deploy a demo, and have its page taken; returns its address."""
    address = portal.deploy(DEMOS / demo, f"ada/{demo.replace('_', '-')}")
    host = address.split("/")[2]
    assert portal.get("/gradio_api/startup-events", host=host)[0] == 200
    return address


class Seen:
    """What a page complains of, and which of its answers were drawn."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.drawn: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("response", self._answered)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _answered(self, response: Response) -> None:
        if "age" in response.headers:
            self.drawn.append(response.url)


def test_a_sleeping_page_is_drawn_and_then_works(portal: RunningPortal, page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    address = deployed(portal, "multipage")
    assert taken(portal, "multipage")[1:] == ("", True)
    put_to_sleep(portal, "multipage")
    seen = Seen(page)
    answer = page.goto(address)
    assert answer is not None and int(answer.headers["age"]) >= 0
    page.get_by_label("Celsius").fill("100")
    page.get_by_role("button", name="Convert").click()
    expect(page.get_by_label("Fahrenheit")).to_have_value("212")
    assert address in seen.drawn
    assert seen.errors == []

    put_to_sleep(portal, "multipage")
    answer = page.goto(f"{address}distance")
    assert answer is not None and "age" in answer.headers
    page.get_by_label("Kilometres").fill("100")
    page.get_by_role("button", name="Convert").click()
    expect(page.get_by_label("Miles")).to_have_value("62.137")


@pytest.mark.parametrize("demo", ["custom_look"])
def test_what_is_drawn_is_what_the_worker_answers(portal: RunningPortal, demo: str) -> None:
    name = demo.replace("_", "-")
    host = deployed(portal, demo).split("/")[2]
    assert taken(portal, name)[1:] == ("", True)
    for path in ("config", "", "gradio_api/info", "theme.css"):
        put_to_sleep(portal, name)
        drawn, drawn_body = ask(portal, host, path)
        assert "age" in drawn, path
        ask(portal, host, "gradio_api/startup-events")
        live, live_body = ask(portal, host, path)
        assert "age" not in live, path
        if path == "config":
            apart = [{k: v for k, v in json.loads(body).items() if k != "app_id"} for body in (drawn_body, live_body)]
            assert apart[0] == apart[1]
        elif path:
            assert drawn_body == live_body
        assert drawn["content-type"] == live["content-type"]


def test_a_demo_with_a_login_is_not_drawn(portal: RunningPortal, page: Page) -> None:
    address = deployed(portal, "password")
    digest, refusal, has_plain_assets = taken(portal, "password")
    assert (digest, refusal, has_plain_assets) == ("", "it asks for a login", True)
    put_to_sleep(portal, "password")
    page.goto(address)
    page.get_by_label("username").fill("ada")
    page.get_by_label("password").fill("engine")
    page.get_by_role("button", name="Login").click()
    page.get_by_role("button", name="Who am I?").click()
    expect(page.get_by_label("Greeting")).to_have_value("Welcome, ada.")


def test_a_visitors_second_look_loads_no_script_again(portal: RunningPortal, page: Page) -> None:
    address = deployed(portal, "multipage")
    taken(portal, "multipage")
    page.goto(address)
    page.get_by_label("Celsius").wait_for()
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: dict[str, int] = {}
    urls: dict[str, str] = {}
    session.on("Network.responseReceived", lambda e: urls.update({e["requestId"]: e["response"]["url"]}))
    session.on("Network.loadingFinished", lambda e: sizes.update({e["requestId"]: int(e["encodedDataLength"])}))
    page.reload()
    page.get_by_label("Celsius").wait_for()
    scripts = {urls[i]: size for i, size in sizes.items() if "/assets/" in urls.get(i, "")}
    assert scripts and not any(scripts.values()), scripts


ASKED_AT = """() => [
  performance.getEntriesByType("navigation")[0].domInteractive,
  performance.getEntriesByType("resource")
    .filter((entry) => /[/](assets|static[/]fonts|theme[.]css)/.test(entry.name)).map((entry) => entry.startTime),
]"""


def first_visit(browser: Browser, address: str) -> tuple[list[str], bool]:
    """What a browser with an empty cache asks for, and whether any file of Gradio's only after the page was parsed,
    which is when its scripts begin to run."""
    with browser.new_context() as context:
        page = context.new_page()
        seen, asked = Seen(page), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.get_by_label("Kilometres").wait_for()
        page.wait_for_load_state("networkidle")
        parsed, starts = page.evaluate(ASKED_AT)
        assert seen.errors == [] and len(starts) > 20
        return sorted(asked), max(starts) > parsed


def test_after_two_first_visits_everything_is_asked_for_before_a_script_runs(
    portal: RunningPortal, browser: Browser
) -> None:
    address = portal.deploy(DEMOS / "multipage", "ada/ahead")
    assert portal.get("/gradio_api/startup-events", host=address.split("/")[2])[0] == 200
    assert taken(portal, "ahead")[1:] == ("", True)
    found = [first_visit(browser, f"{address}distance") for _ in range(3)]
    assert [later for _, later in found[::2]] == [True, False]
    assert found[2][0] == found[0][0], "nothing in vain, and nothing twice"
