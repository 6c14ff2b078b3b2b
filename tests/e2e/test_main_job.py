"""The main job, as its user does it: a new account, a folder dropped on the page, a prediction in the browser."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, FrameLocator, Page, expect

from tests.e2e.conftest import ADMIN, Blog, click, sign_in, snippet
from tests.running_portal import RunningPortal, child

pytestmark = pytest.mark.e2e

GREETER = """\
import gradio as gr


def greet(name, request: gr.Request):
    return f"Hello {name}!"


gr.Interface(greet, gr.Textbox(label="Name"), gr.Textbox(label="Greeting"), api_name="greet").launch()
"""

DROP = """
async ([selector, name, files]) => {
    const entry = (path, text) => ({
        isFile: true, isDirectory: false, name: path, fullPath: `/${name}/${path}`,
        file: (done) => done(new File([text], path)),
    });
    const children = Object.entries(files).map(([path, text]) => entry(path, text));
    const folder = {
        isFile: false, isDirectory: true, name, fullPath: `/${name}`,
        createReader: () => ({ readEntries: (done) => done(children.splice(0)) }),
    };
    const transfer = new DataTransfer();
    for (const [path, text] of Object.entries(files)) transfer.items.add(new File([text], path));
    const event = new DragEvent("drop", { bubbles: true, cancelable: true });
    Object.defineProperty(event, "dataTransfer", { value: {
        types: ["Files"], files: transfer.files,
        items: [{ kind: "file", webkitGetAsEntry: () => folder, getAsFile: () => null }],
    } });
    document.querySelector(selector).dispatchEvent(event);
}
"""


def demo_frame(page: Page) -> FrameLocator:
    return page.frame_locator("iframe[src*='spaces.localhost']")


def predict(where: FrameLocator | Page, name: str) -> None:
    """Use the greeter as a visitor does."""
    where.get_by_label("Name", exact=True).fill(name)
    click(where.get_by_role("button", name="Submit"))
    expect(where.get_by_label("Greeting")).to_have_value(f"Hello {name}!", timeout=20_000)


def test_a_new_account_drops_a_folder_makes_a_prediction_and_embeds_it_in_a_blog(
    page: Page, portal: RunningPortal, blog: Blog
) -> None:
    page.goto(f"{portal.url}/accounts/signup/")
    page.fill("input[name=email]", "grace@example.org")
    page.fill("input[name=username]", "grace")
    page.fill("input[name=password1]", "a-good-long-password")
    page.press("input[name=password1]", "Enter")
    page.wait_for_url(lambda url: "/signup" not in url)

    page.goto(f"{portal.url}/new-space")
    page.fill("input[name=name]", "greeter")
    page.locator("input[name=sdk][value=gradio]").check(force=True)
    page.evaluate(DROP, ["[data-dropzone]", "my-demo", {"app.py": GREETER, "requirements.txt": "numpy\n"}])
    listed = page.locator("[data-upload-list]")
    expect(listed).to_contain_text("app.py")
    expect(listed).to_contain_text("requirements.txt")
    page.get_by_role("button", name=re.compile("create", re.I)).click()
    page.wait_for_url(f"{portal.url}/spaces/grace/greeter")

    expect(page.locator("[data-stage]").first).to_have_attribute("data-stage", "RUNNING", timeout=180_000)
    predict(demo_frame(page), "Grace")

    page.goto(f"http://grace-greeter.spaces.localhost:{portal.port}/")
    predict(page, "the direct address")
    assert portal.command("stage", "grace/greeter").stdout.strip() == "RUNNING"

    page.goto(blog.publish(snippet(page, portal, "grace/greeter", "Web component")))
    predict(page.frame_locator("gradio-app iframe"), "the blog")


def test_a_private_space_is_not_there_for_strangers_and_works_for_its_owner(
    page: Page, context: BrowserContext, portal: RunningPortal, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(GREETER)
    portal.deploy(tmp_path, "ada/secret-greeter", "--private")
    host = portal.host("ada-secret-greeter")
    unknown = portal.host("ada-never-was")
    for path in ("/", "/config", "/gradio_api/info"):
        status, body = portal.get(path, host=host)
        assert (status, body) == portal.get(path, host=unknown), path
        assert status == 404, path
    for path in (
        "/spaces/ada/secret-greeter", "/spaces/ada/secret-greeter/tree/main", "/api/spaces/ada/secret-greeter",
        "/embed/spaces/ada/secret-greeter", "/run/ada/secret-greeter/config", "/spaces/ada/secret-greeter/logs",
        "/spaces/ada/secret-greeter/settings",
    ):  # fmt: skip
        assert portal.get(path)[0] in {404, 302} and "secret" not in str(portal.get(path)[1]).lower(), path

    sign_in(page, portal, *ADMIN)
    page.goto(f"{portal.url}/spaces/ada/secret-greeter")
    predict(demo_frame(page), "Ada")
    token = portal.token("ada")
    status, body = portal.get("/config", host=host, headers={"Authorization": f"Bearer {token}"})
    assert status == 200
    assert json.loads(body)["components"]


def test_the_logs_stream_live_and_have_their_history_after_a_reload_and_a_lost_connection(
    page: Page, portal: RunningPortal, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("---\nsdk: python\napp_file: app.py\n---\n")
    (tmp_path / "app.py").write_text(
        "import http.server, os, threading, time\n"
        "print('the first line', flush=True)\n"
        "def tick():\n"
        "    for number in range(3000):\n"
        "        print('tick', number, flush=True)\n"
        "        time.sleep(0.1)\n"
        "threading.Thread(target=tick, daemon=True).start()\n"
        "class Page(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        print('visited', self.path, flush=True)\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(b'here')\n"
        "http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), Page).serve_forever()\n"
    )
    portal.deploy(tmp_path, "ada/chatty")
    sign_in(page, portal, *ADMIN)
    page.goto(f"{portal.url}/spaces/ada/chatty/logs")
    expect(page.locator("main")).to_contain_text("the first line")
    portal.get("/tell-me", host=portal.host("ada-chatty"))
    expect(page.locator("main")).to_contain_text("visited /tell-me")
    page.reload()
    expect(page.locator("main")).to_contain_text("the first line")
    expect(page.locator("main")).to_contain_text("visited /tell-me")

    lost = page.locator("[data-connection]")
    os.kill(child(portal, "portico web"), signal.SIGKILL)  # the supervisor starts another, the app goes on
    expect(lost).to_have_text("The connection was lost. Trying again …")
    seen = ticks(page)[-1]
    expect(lost).to_be_hidden(timeout=60_000)
    expect(page.locator("main")).to_contain_text(f"tick {seen + 30}\n")  # what it missed
    expect(page.locator("main")).to_contain_text(f"tick {ticks(page)[-1] + 10}\n")  # and what comes
    found = ticks(page)
    assert found == list(range(found[-1] + 1)), "a line is missing, or there twice"


def ticks(page: Page) -> list[int]:
    """The numbers that ada/chatty has counted, as its log's page has them."""
    text = page.get_by_role("log", name="Application log").evaluate("log => log.textContent")
    return [int(number) for number in re.findall(r"^tick (\d+)$", text.rpartition("\n")[0], re.M)]


def test_falling_asleep_and_waking_leaves_the_visitors_frame_alone(
    page: Page, portal: RunningPortal, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(GREETER)
    portal.deploy(tmp_path, "ada/sleeper")
    page.goto(f"{portal.url}/spaces/ada/sleeper")
    demo_frame(page).get_by_label("Name", exact=True).fill("half a sentence")
    stage = page.locator("[data-stage-badge] [data-stage]")
    portal.command("sleep", "ada/sleeper")
    expect(stage).to_have_attribute("data-stage", "SLEEPING")
    assert portal.get("/config", host=portal.host("ada-sleeper"))[0] == 200
    expect(stage).to_have_attribute("data-stage", "RUNNING", timeout=30_000)
    expect(demo_frame(page).get_by_label("Name", exact=True)).to_have_value("half a sentence")
