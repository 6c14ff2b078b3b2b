"""A Space drawn by Gradio's own script in a page of another site, without a frame."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from playwright.sync_api import Page, Response, expect

from tests.e2e.conftest import Blog, snippet
from tests.e2e.test_embed import change
from tests.running_portal import RunningPortal
from tests.waiting import wait_until

pytestmark = pytest.mark.e2e

DEMO = """
import gradio as gr

with gr.Blocks(title="Native") as demo:
    name = gr.Textbox(label="Name")
    greeting = gr.Textbox(label="Greeting")
    gr.Button("Greet").click(lambda n: f"Hello {n}!", name, greeting, api_name="greet")
    picture = gr.Image(label="Picture", type="pil")
    turned = gr.Image(label="Turned", format="png")
    picture.upload(lambda image: image.rotate(90, expand=True), picture, turned)

demo.launch()
"""


def predict(page: Page) -> None:
    page.get_by_label("Name").fill("Grace")
    page.get_by_role("button", name="Greet").click()
    expect(page.get_by_label("Greeting")).to_have_value("Hello Grace!")


def test_a_page_of_another_site_draws_a_space_itself(
    page: Page, portal: RunningPortal, blog: Blog, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("native")
    (folder / "app.py").write_text(DEMO)
    (folder / "README.md").write_text("---\nsdk: gradio\napp_file: app.py\n---\n")
    picture = folder / "picture.png"
    Image.new("RGB", (60, 20), "red").save(picture)
    space = portal.deploy(folder, "ada/native")
    wait_until(lambda: any((portal.data / "bundles").glob("*/gradio.js")))
    [version] = [bundle.name for bundle in (portal.data / "bundles").iterdir()]

    pasted = snippet(page, portal, "ada/native", "In the page itself")
    assert f"{portal.url}/embed/{version}/gradio.js" in pasted and f'src="{space}"' in pasted
    page.get_by_text("Change how it looks").click()
    page.get_by_label("Colours").select_option("Dark")
    expect(page.locator("#embed-native")).to_contain_text(f'<gradio-app src="{space}" theme_mode="dark">')
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 Playwright cannot take a built-in
    address = blog.publish(page.locator("#embed-native").inner_text())
    page.goto("about:blank")
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.goto(address)
    predict(page)
    page.locator("input[type=file]").first.set_input_files(picture)
    turned = page.locator("gradio-app img[src*='image.png']")
    expect(turned).to_be_visible()
    assert turned.evaluate("async i => (await i.decode(), [i.naturalWidth, i.naturalHeight])") == [20, 60]
    hosts = {answer.url.split("/")[2] for answer in answers if not answer.url.startswith(blog.url)}
    assert hosts == {f"localhost:{portal.port}", portal.host("ada-native")}, "no CDN, and nobody else"
    assert page.locator("iframe").count() == 0 and page.locator(".dark").count() > 0
    assert page.locator("gradio-app > a").count() == 0, "the link is for readers without scripts"
    assert [a.url for a in answers if a.status >= 400 and not a.url.startswith(blog.url)] == []
    assert [url for url in failed if "/queue/data?" not in url] == [], "but the stream that Gradio leaves at its end"

    portal.command("sleep", "ada/native")
    answers.clear()
    page.goto(address)
    predict(page)
    config = next(answer for answer in answers if answer.url == f"{space}config")
    assert config.header_value("age") is not None, "drawn from the snapshot, while the worker wakes"

    change(portal, "# native\nservices.set_embedding(space, disabled=True)")
    with page.expect_event("requestfailed", lambda request: request.url == f"{space}config"):
        page.goto(address)
    expect(page.get_by_text("Could not load this space.")).to_be_visible()
    assert page.get_by_label("Name").count() == 0
    assert json.loads(portal.get("/api/spaces/ada/native")[1])["runtime"]["stage"] == "RUNNING"
