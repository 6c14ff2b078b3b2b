"""The API page of a Space, used as a person uses it: endpoints are tried, with files, and given up."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect

from tests.e2e.readable import complaints
from tests.e2e.test_first_page import put_to_sleep, taken
from tests.running_portal import RunningPortal

pytestmark = pytest.mark.e2e

APP = """
import threading
import time
import gradio as gr

seen = threading.Event()

def count(number):
    for n in range(int(number)):
        time.sleep(0.1)
        yield f"counted {n + 1}"

def shout(path):
    with open(path) as given, open("/tmp/shout.txt", "w") as said:
        said.write(given.read().upper())
    return "/tmp/shout.txt"

def steps(progress=gr.Progress()):
    for n in range(4):
        progress((n, 4), desc="Stepping", unit="steps")
        if n == 2:
            seen.wait(60)
    gr.Warning("It was long.")
    return "there"

def fails(flag):
    raise gr.Error("It may not be.")

with gr.Blocks() as demo:
    gr.Button().click(count, gr.Number(3, label="How far"), gr.Textbox(label="Said"), api_name="count")
    gr.Button().click(shout, gr.File(label="Words"), gr.File(), api_name="shout")
    gr.Button().click(steps, None, gr.Textbox(), api_name="far/steps", concurrency_limit=1)
    gr.Button().click(fails, gr.Checkbox(label="Flag"), gr.Textbox(), api_name="fails")
    gr.Button().click(seen.set, None, None, api_name="seen")
    gr.Button().click(lambda table: table, gr.JSON(label="Facts"), gr.JSON(), api_name="facts")
demo.launch(show_error=True)
"""


@pytest.fixture(scope="module")
def space(portal: RunningPortal, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("demo")
    (folder / "app.py").write_text(APP)
    (folder / "README.md").write_text("---\nsdk: gradio\napp_file: app.py\ntitle: Many ways\n---\n")
    portal.deploy(folder, "ada/ways")
    portal.deploy(folder, "ada/private-ways", "--private")
    assert taken(portal, "ways")[1:] == ("", True)
    taken(portal, "private-ways")
    return f"{portal.url}/spaces/ada/ways/api"


def opened(page: Page, name: str) -> None:
    """Open "Try it" of one endpoint; the page has one of each name."""
    page.get_by_role("region", name=name, exact=True).get_by_text("Try it").click()


def test_an_endpoint_of_a_sleeping_space_is_tried(page: Page, portal: RunningPortal, space: str) -> None:
    put_to_sleep(portal, "ways")
    page.goto(space)
    opened(page, "/count")
    page.get_by_label("How far").fill("2")
    page.get_by_role("button", name="Run").first.click()
    expect(page.get_by_text("Done in")).to_be_visible()
    expect(page.get_by_label("Result of /count")).to_contain_text("counted 2")


def test_partial_results_show_and_a_run_is_given_up(page: Page, space: str) -> None:
    page.goto(space)
    opened(page, "/count")
    page.get_by_label("How far").fill("600")
    page.get_by_role("button", name="Run").first.click()
    expect(page.get_by_label("Result of /count")).to_contain_text("counted 3")
    expect(page.get_by_label("Running /count")).to_be_visible()
    page.get_by_role("button", name="Cancel").first.click()
    expect(page.get_by_text("Cancelled after")).to_be_visible()
    expect(page.get_by_label("Running /count")).to_be_hidden()
    page.get_by_label("How far").fill("1")
    page.get_by_role("button", name="Run").first.click()
    expect(page.get_by_text("Done in")).to_be_visible()


def test_a_run_shows_its_place_its_progress_and_what_the_app_tells(
    page: Page, context: BrowserContext, portal: RunningPortal, space: str
) -> None:
    first = context.new_page()
    for one in (first, page):
        one.goto(space)
        opened(one, "/far/steps")
        one.get_by_role("region", name="/far/steps", exact=True).get_by_role("button", name="Run").click()
        expect(one.get_by_label("Running /far/steps")).to_be_visible()
    expect(page.get_by_text("Waiting, number 1 of 1")).to_be_visible()
    bar = first.get_by_role("progressbar", name="Running /far/steps")
    expect(bar).to_have_js_property("value", 0.5)
    expect(first.get_by_text("Stepping: 2 of 4 steps")).to_be_visible()
    httpx.post(f"{portal.url}/run/ada/ways/gradio_api/call/seen", json={"data": []}).raise_for_status()
    expect(first.get_by_label("What /far/steps told")).to_contain_text("It was long.")
    expect(first.get_by_label("Result of /far/steps")).to_contain_text("there")
    expect(page.get_by_label("Result of /far/steps")).to_contain_text("there")
    first.close()


def test_a_run_outlives_the_socket_it_was_begun_on(page: Page, space: str) -> None:
    kept: list[WebSocketRoute] = []

    def pass_on(socket: WebSocketRoute) -> None:
        kept.append(socket)
        socket.connect_to_server()

    page.route_web_socket("**/run", pass_on)
    page.goto(space)
    opened(page, "/count")
    page.get_by_label("How far").fill("40")
    page.get_by_role("button", name="Run").first.click()
    expect(page.get_by_label("Result of /count")).to_contain_text("counted ")
    kept[0].close(code=4000)
    expect(page.get_by_label("Result of /count")).to_contain_text("counted 40")
    expect(page.get_by_text("Done in")).to_be_visible()
    assert len(kept) == 2


def test_where_websockets_do_not_pass_the_page_says_so(page: Page, space: str) -> None:
    page.route_web_socket("**/run", lambda socket: socket.close(code=4000))
    page.goto(space)
    opened(page, "/count")
    page.get_by_role("button", name="Run").first.click()
    expect(page.get_by_text("cannot be reached over a websocket")).to_be_visible()


def test_the_owner_tries_a_private_space_with_files_both_ways(
    admin_page: Page, portal: RunningPortal, space: str, tmp_path: Path
) -> None:
    given = tmp_path / 'gi"ven é.txt'
    given.write_text("quiet")
    admin_page.goto(f"{portal.url}/spaces/ada/private-ways/api")
    opened(admin_page, "/shout")
    admin_page.get_by_label("Words").set_input_files(given)
    admin_page.get_by_role("region", name="/shout", exact=True).get_by_role("button", name="Run").click()
    with admin_page.expect_popup() as opening:
        admin_page.get_by_label("Files of the result").get_by_role("link", name="shout.txt").click()
    expect(opening.value.get_by_text("QUIET")).to_be_visible()
    assert "__sign" not in opening.value.url and portal.host("ada-private-ways") in opening.value.url
    assert complaints(admin_page) == []


def test_files_go_up_and_come_down(page: Page, space: str, tmp_path: Path) -> None:
    given = tmp_path / "given words.txt"
    given.write_text("quiet")
    page.goto(space)
    opened(page, "/shout")
    page.get_by_label("Words").set_input_files(given)
    page.get_by_role("region", name="/shout", exact=True).get_by_role("button", name="Run").click()
    link = page.get_by_label("Files of the result").get_by_role("link")
    expect(link).to_have_text("shout.txt")
    with page.expect_download() as download:
        link.click()
    assert Path(download.value.path()).read_text() == "QUIET"


def test_what_goes_wrong_is_said(page: Page, space: str) -> None:
    page.goto(space)
    opened(page, "/fails")
    page.get_by_role("region", name="/fails", exact=True).get_by_role("button", name="Run").click()
    expect(page.get_by_text("It may not be.")).to_be_visible()
    opened(page, "/facts")
    page.get_by_role("textbox", name="Facts").fill("{not JSON")
    page.get_by_role("region", name="/facts", exact=True).get_by_role("button", name="Run").click()
    expect(page.get_by_text("this is not JSON")).to_be_visible()
    expect(page.get_by_role("textbox", name="Facts")).to_be_focused()


def test_the_page_is_readable(page: Page, space: str) -> None:
    page.goto(space)
    for summary in page.locator("summary").get_by_text("Code", exact=True).all():
        summary.click()
    opened(page, "/count")
    assert complaints(page) == []
