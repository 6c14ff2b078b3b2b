"""A Space in somebody's blog: the snippets, pasted as they are shown into a static page on another site."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, FrameLocator, Page, expect

from tests.e2e.conftest import Blog, snippet
from tests.running_portal import ROOT, RunningPortal

pytestmark = pytest.mark.e2e

GREETER = """
import gradio as gr

with gr.Blocks(title="Greeter") as demo:
    name = gr.Textbox(label="Name")
    greeting = gr.Textbox(label="Greeting")
    gr.Button("Greet").click(lambda n: f"Hello {n}!", name, greeting, api_name="greet")
    box = gr.HTML("")
    gr.Button("More").click(lambda: "<div style='height:900px'>tall</div>", None, box)
    gr.Button("Less").click(lambda: "", None, box)

demo.launch()
"""
README = "---\ntitle: Greeter & friends\nsdk: gradio\napp_file: app.py\n---\n"

# Styles of the kind that themes of blogs have, with more force than any should.
HOSTILE = """
* { box-sizing: content-box; letter-spacing: 5px; font-size: 31px; text-transform: uppercase; }
iframe, header, button, p, a { display: none !important; height: 7px !important; }
gradio-app { padding: 60px; overflow: scroll; height: 9px; columns: 3; }
"""


@pytest.fixture(scope="module")
def greeter(portal: RunningPortal, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A running Gradio Space, `ada/greeter`; its own address."""
    folder = tmp_path_factory.mktemp("greeter")
    (folder / "app.py").write_text(GREETER)
    (folder / "README.md").write_text(README)
    return portal.deploy(folder, "ada/greeter")


@pytest.fixture(scope="module")
def static_page(portal: RunningPortal) -> str:
    """A static Space that tells its height, `ada/static-page`; its own address."""
    return portal.deploy(ROOT / "tests" / "demos" / "static_page", "ada/static-page")


@pytest.fixture
def hearing(context: BrowserContext) -> None:
    """Every page keeps what its elements tell, in `window.heard`."""
    context.add_init_script(
        "window.heard = []; for (const type of ['status', 'render', 'height', 'error']) addEventListener(type, (e) =>"
        " e instanceof CustomEvent && heard.push([type, e.detail, e.target.id]), true)"
    )


def change(portal: RunningPortal, code: str) -> None:
    """Run `code` in the portal's own code, `space` being ada/<name> of its first line `# name`."""
    name = code.strip().splitlines()[0].removeprefix("# ")
    before = (
        "from apps.spaces.models import Space; from apps.spaces import services;"
        f"space = Space.objects.select_related('owner').get(owner__name='ada', name='{name}');"
    )
    portal.shell(before + "\n" + code)


def predict(demo: FrameLocator) -> None:
    demo.get_by_label("Name").fill("Grace")
    demo.get_by_role("button", name="Greet").click()
    expect(demo.get_by_label("Greeting")).to_have_value("Hello Grace!")


def script(portal: RunningPortal) -> str:
    return f'<script type="module" src="{portal.url}/embed/gradio.js"></script>'


def frame_height(page: Page, selector: str = "gradio-app") -> int:
    return int(page.locator(f"{selector} iframe").evaluate("frame => frame.offsetHeight"))


def wait_for_height(page: Page, condition: str) -> int:
    """Wait until `condition` holds for the frame's height `h`, and return it."""
    page.wait_for_function(
        "() => { const h = document.querySelector('gradio-app').shadowRoot.querySelector('iframe')?.offsetHeight"
        f" ?? NaN; return {condition}; }}"
    )
    return frame_height(page)


def violations(page: Page) -> list[str]:
    return [f"{v['id']}: {v['nodes'][0]['html']}" for v in Axe().run(page).response["violations"]]


# The dropdown


def test_the_dropdown_can_be_used_with_the_keyboard_alone(page: Page, portal: RunningPortal, greeter: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=portal.url)
    page.goto(f"{portal.url}/spaces/ada/greeter")
    opener = page.get_by_role("button", name="Embed this Space")
    panel = page.get_by_role("dialog", name="Embed this Space")
    opener.focus()
    page.keyboard.press("Enter")
    expect(panel).to_be_visible()
    copy = page.get_by_role("button", name="Copy: Direct address")
    for _ in range(6):
        if copy.evaluate("button => button === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Copied to the clipboard.")).to_be_attached()
    assert page.evaluate("navigator.clipboard.readText()") == greeter
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(opener).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 375])
def test_the_open_dropdown_is_accessible_and_fits(
    page: Page, portal: RunningPortal, greeter: str, width: int, scheme: str
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{portal.url}/spaces/ada/greeter")
    page.get_by_role("button", name="Embed this Space").click()
    box = page.get_by_role("dialog", name="Embed this Space").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert [v for v in violations(page) if "embed" in v] == []


def test_the_element_is_configured_with_a_preview_beside_it(
    page: Page, portal: RunningPortal, greeter: str, blog: Blog
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=portal.url)
    plain = snippet(page, portal, "ada/greeter", "Web component")
    page.get_by_text("Change how it looks").click()
    predict(page.get_by_label("Preview").frame_locator("iframe"))
    page.get_by_label("Colours").select_option("Dark")
    page.get_by_label("Height at first").fill("420")
    page.get_by_label("A border").uncheck()
    page.get_by_label("Load at once").check()
    shown = page.get_by_label("Preview").locator("gradio-app")
    for name, value in (("theme_mode", "dark"), ("initial_height", "420px"), ("container", "false"), ("eager", "true")):
        expect(shown).to_have_attribute(name, value)
    page.get_by_role("button", name="Copy: Web component").click()
    expect(page.get_by_text("Copied to the clipboard.").first).to_be_attached()
    copied = str(page.evaluate("navigator.clipboard.readText()"))
    wanted = ' theme_mode="dark" initial_height="420px" container="false" eager="true" allow='
    assert copied == plain.replace(" allow=", wanted)
    page.goto(blog.publish(copied))
    predict(page.frame_locator("gradio-app iframe"))


# The snippets, in the blog


def test_the_frame_snippet_shows_the_working_demo_on_another_site(
    page: Page, portal: RunningPortal, greeter: str, blog: Blog
) -> None:
    html = snippet(page, portal, "ada/greeter", "Frame")
    page.goto(blog.publish(html))
    frame = page.locator("iframe")
    assert frame.get_attribute("title") == "Greeter & friends"
    predict(page.frame_locator("iframe"))


def test_the_web_component_snippet_shows_the_working_demo_on_another_site(
    page: Page, portal: RunningPortal, greeter: str, blog: Blog, hearing: None
) -> None:
    html = snippet(page, portal, "ada/greeter", "Web component")
    page.goto(blog.publish(html))
    predict(page.frame_locator("gradio-app iframe"))
    heard = page.evaluate("heard")
    assert [e[0] for e in heard].count("render") == 1
    assert [e[1]["status"] for e in heard if e[0] == "status"] == ["waiting", "loading", "ready"]
    expect(page.get_by_text("Greeter & friends · Hosted on Portico")).to_be_visible()
    assert violations(page) == []


def test_the_element_is_lazy_and_then_follows_the_demos_height_both_ways(
    page: Page, portal: RunningPortal, greeter: str, blog: Blog
) -> None:
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(
        blog.publish(f'<div style="height:5000px"></div>{script(portal)}<gradio-app space="ada/greeter"></gradio-app>')
    )
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.querySelector('gradio-app').status") == "waiting"
    assert [url for url in requested if url.startswith(portal.url)] == [f"{portal.url}/embed/gradio.js"]

    page.locator("gradio-app").scroll_into_view_if_needed()
    demo = page.frame_locator("gradio-app iframe")
    expect(demo.get_by_role("button", name="Less")).to_be_visible()
    own = wait_for_height(page, "h > 300")
    assert demo.locator("html").evaluate("page => page.scrollHeight <= innerHeight")
    demo.get_by_role("button", name="More").click()
    assert wait_for_height(page, f"h > {own} + 800") < own + 1000
    demo.get_by_role("button", name="Less").click()
    assert abs(wait_for_height(page, f"h < {own} + 100") - own) <= 4


def test_an_eager_element_loads_far_below_the_fold(
    page: Page, portal: RunningPortal, static_page: str, blog: Blog
) -> None:
    page.goto(
        blog.publish(
            f'{script(portal)}<div style="height:9000px"></div><gradio-app eager space="ada/static-page"></gradio-app>'
        )
    )
    expect(page.frame_locator("gradio-app iframe").get_by_role("heading", name="Static page")).to_be_attached()


def test_hostile_styles_do_not_reach_the_demo_and_the_demo_changes_nothing_in_the_page(
    page: Page, portal: RunningPortal, greeter: str, blog: Blog
) -> None:
    looks = """() => [document.head.innerHTML, document.styleSheets.length, document.adoptedStyleSheets.length,
        ...['h1', 'body', '#mine'].flatMap((s) => {
            const look = getComputedStyle(document.querySelector(s));
            return [...look].filter((p) => !/block-size|height|origin/.test(p)).map((p) => look.getPropertyValue(p));
        })]"""
    body = '<div id="mine">My own words</div><gradio-app space="ada/greeter"></gradio-app>'
    page.goto(blog.publish(body, head=f"<style>{HOSTILE}</style>"))
    before = page.evaluate(looks)
    page.evaluate("src => import(src)", f"{portal.url}/embed/gradio.js")
    demo = page.frame_locator("gradio-app iframe")
    predict(demo)
    assert page.evaluate(looks) == before
    assert wait_for_height(page, "h > 300") > 300
    assert demo.get_by_label("Name").evaluate("field => getComputedStyle(field).textTransform") == "none"
    host, frame = page.locator("gradio-app").bounding_box(), page.locator("gradio-app iframe").bounding_box()
    assert host is not None
    assert frame is not None
    assert host["width"] - frame["width"] <= 2
    caption = page.locator("gradio-app .info")
    assert caption.evaluate("line => getComputedStyle(line).textTransform") == "none"
    assert caption.bounding_box()["height"] < 60  # type: ignore[index]


def test_a_strict_content_security_policy_of_the_page_is_enough(
    page: Page, portal: RunningPortal, static_page: str, blog: Blog
) -> None:
    policy = (
        f"default-src 'none'; script-src {portal.url}; connect-src {portal.url};"
        f" frame-src http://*.spaces.localhost:{portal.port}; require-trusted-types-for 'script'"
    )
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(
        blog.publish(
            f'{script(portal)}<gradio-app space="ada/static-page"></gradio-app>',
            head=f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        )
    )
    expect(page.frame_locator("gradio-app iframe").get_by_role("heading", name="Static page")).to_be_visible()
    expect(page.locator("gradio-app .box")).to_have_css("border-top-width", "1px")
    assert [c for c in complaints if "favicon" not in c and "404" not in c] == []


def test_any_page_can_tell_its_height_by_message(
    page: Page, portal: RunningPortal, static_page: str, blog: Blog
) -> None:
    page.goto(blog.publish(f'{script(portal)}<gradio-app space="ada/static-page" height="500"></gradio-app>'))
    first = wait_for_height(page, "h < 300")
    add = page.frame_locator("gradio-app iframe").get_by_role("button", name="Add a line")
    for _ in range(10):
        add.click()
    assert wait_for_height(page, f"h > {first} + 100") < 700


def test_words_from_any_other_window_are_not_heard(
    page: Page, portal: RunningPortal, static_page: str, blog: Blog
) -> None:
    page.goto(blog.publish(f'{script(portal)}<gradio-app space="ada/static-page"></gradio-app>'))
    settled = wait_for_height(page, "h < 300")
    page.evaluate("postMessage({type: 'portico:height', height: 4000}, '*')")
    page.evaluate("postMessage('[iFrameSizer]portico:4000:10:size', '*')")
    page.wait_for_timeout(400)
    assert frame_height(page) == settled


def test_several_kinds_of_demo_share_one_page(
    page: Page, portal: RunningPortal, greeter: str, static_page: str, blog: Blog
) -> None:
    page.goto(
        blog.publish(
            f'{script(portal)}<gradio-app id="a" space="ada/static-page"></gradio-app>'
            f'<gradio-app id="b" space="ADA/Greeter"></gradio-app><gradio-app id="c" src="{greeter}"></gradio-app>'
        )
    )
    expect(page.frame_locator("#a iframe").get_by_role("heading", name="Static page")).to_be_visible()
    for element in ("#b", "#c"):
        page.locator(element).scroll_into_view_if_needed()
        predict(page.frame_locator(f"{element} iframe"))


def test_the_theme_asked_for_reaches_the_demo(page: Page, portal: RunningPortal, greeter: str, blog: Blog) -> None:
    page.goto(blog.publish(f'{script(portal)}<gradio-app space="ada/greeter" theme_mode="dark"></gradio-app>'))
    body = page.frame_locator("gradio-app iframe").locator("body")
    expect(body).to_have_class("dark")
    page.evaluate("document.querySelector('gradio-app').setAttribute('theme_mode', 'light')")
    expect(body).not_to_have_class("dark")


def test_elements_may_be_made_changed_moved_and_removed_at_any_time(
    page: Page, portal: RunningPortal, greeter: str, static_page: str, blog: Blog, hearing: None
) -> None:
    page.goto(blog.publish(f'{script(portal)}<div id="here"></div><div id="there"></div>'))
    page.wait_for_function("() => customElements.get('gradio-app')")
    page.evaluate(
        "() => { const e = document.createElement('gradio-app'); here.append(e); e.id = 'made';"
        " e.setAttribute('theme_mode', 'light'); e.setAttribute('space', 'ada/static-page'); }"
    )
    heading = page.frame_locator("#made iframe").get_by_role("heading", name="Static page")
    expect(heading).to_be_visible()
    loads = "heard.filter(([t, d]) => t === 'status' && d.status === 'loading').length"
    assert page.evaluate(loads) == 1

    page.evaluate("there.append(made)")
    expect(heading).to_be_visible()
    assert page.evaluate(loads) == 2
    page.evaluate("made.setAttribute('info', 'false')")
    expect(page.locator("#made .info")).to_be_hidden()
    page.evaluate("made.setAttribute('control_page_title', '')")
    expect(page).to_have_title("Static page")
    page.evaluate("made.setAttribute('space', 'ada/greeter')")
    expect(page.frame_locator("#made iframe").get_by_role("button", name="Greet")).to_be_visible()
    page.evaluate("made.remove()")
    assert page.evaluate("heard.filter(([type]) => type === 'error').length") == 0
    assert len(page.frames) == 1


# Browsers that withhold cookies and storage from framed pages: Debian's Chromium is one


def test_a_chat_that_keeps_its_history_in_the_browser_works_where_storage_is_withheld(
    page: Page, portal: RunningPortal, blog: Blog
) -> None:
    portal.deploy(ROOT / "tests" / "demos" / "streaming_chat", "ada/streaming-chat")
    page.goto(blog.publish(f'{script(portal)}<gradio-app space="ada/streaming-chat"></gradio-app>'))
    demo = page.frame_locator("gradio-app iframe")
    demo.get_by_role("textbox").fill("hello")
    demo.get_by_role("textbox").press("Enter")
    expect(demo.get_by_text("You said: hello. That was message 1.")).to_be_visible()


def test_a_demo_with_a_password_can_be_signed_in_to_inside_a_frame(
    page: Page, portal: RunningPortal, blog: Blog
) -> None:
    portal.deploy(ROOT / "tests" / "demos" / "password", "ada/password")
    page.goto(blog.publish(f'{script(portal)}<gradio-app space="ada/password"></gradio-app>'))
    demo = page.frame_locator("gradio-app iframe")
    demo.get_by_label("username").fill("ada")
    demo.get_by_label("password").fill("engine")
    demo.get_by_role("button", name="Login").click()
    demo.get_by_role("button", name="Who am I?").click()
    expect(demo.get_by_label("Greeting")).to_have_value("Welcome, ada.")


# What cannot be shown


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ('space="ada/nothing"', "There is no public Space “ada/nothing”"),
        ('space="nothing"', "is not of the form owner/name"),
        ('src="javascript:document.title=1"', "cannot be reached"),
        ("", "Nothing to show"),
        ('space="ada/greeter" host="http://127.0.0.1:9"', "cannot be reached"),
    ],
)
def test_the_element_says_why_it_shows_nothing(
    page: Page, portal: RunningPortal, blog: Blog, hearing: None, attributes: str, words: str
) -> None:
    page.goto(blog.publish(f"{script(portal)}<gradio-app {attributes}></gradio-app>"))
    expect(page.locator("gradio-app").get_by_role("status")).to_contain_text(words)
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    assert page.evaluate("heard.filter(([type]) => type === 'error').length") == 1
    assert violations(page) == []


def test_a_private_space_is_unknown_to_other_sites_until_it_is_public_and_tried_again(
    page: Page, portal: RunningPortal, blog: Blog
) -> None:
    portal.deploy(ROOT / "tests" / "demos" / "static_page", "ada/secret-page", "--private")
    page.goto(blog.publish(f'{script(portal)}<gradio-app space="ada/secret-page"></gradio-app>'))
    status = page.locator("gradio-app").get_by_role("status")
    expect(status).to_contain_text("There is no public Space “ada/secret-page”")
    change(portal, "# secret-page\nservices.set_visibility(space, 'public')")
    page.wait_for_timeout(1500)  # how long the former answer may be kept
    page.get_by_role("button", name="Try again").click()
    expect(page.frame_locator("gradio-app iframe").get_by_role("heading", name="Static page")).to_be_visible()


def test_a_private_spaces_dropdown_says_that_strangers_would_see_nothing(
    admin_page: Page, portal: RunningPortal
) -> None:
    portal.deploy(ROOT / "tests" / "demos" / "static_page", "ada/quiet-page", "--private")
    admin_page.goto(f"{portal.url}/spaces/ada/quiet-page")
    admin_page.get_by_role("button", name="Embed this Space").click()
    panel = admin_page.get_by_role("dialog", name="Embed this Space")
    expect(panel).to_contain_text("This Space is private.")
    expect(panel.get_by_role("button", name="Copy: Direct address")).to_be_visible()
    expect(panel.get_by_role("button", name="Copy: Frame")).to_have_count(0)


def test_a_withheld_space_is_gone_from_other_sites(page: Page, portal: RunningPortal, blog: Blog) -> None:
    url = portal.deploy(ROOT / "tests" / "demos" / "static_page", "ada/bad-page")
    change(portal, "# bad-page\nservices.withhold_space(space, 'Copies a bank.')")
    page.goto(
        blog.publish(f'{script(portal)}<gradio-app space="ada/bad-page"></gradio-app><iframe src="{url}"></iframe>')
    )
    expect(page.locator("gradio-app").get_by_role("status")).to_contain_text("withdrawn by the moderators")
    expect(page.frame_locator("main > iframe").get_by_role("heading", name="Static page")).to_have_count(0)


def test_where_the_owner_turned_embedding_off_neither_snippet_shows_the_demo(
    page: Page, portal: RunningPortal, blog: Blog, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("closed")
    (folder / "README.md").write_text("---\nsdk: static\ndisable_embedding: true\n---\n")
    (folder / "index.html").write_text("<!doctype html><h1>Closed page</h1>")
    url = portal.deploy(folder, "ada/closed-page")
    page.goto(
        blog.publish(f'{script(portal)}<gradio-app space="ada/closed-page"></gradio-app><iframe src="{url}"></iframe>')
    )
    expect(page.locator("gradio-app").get_by_role("status")).to_contain_text("does not allow this demo in other pages")
    expect(page.frame_locator("main > iframe").get_by_role("heading", name="Closed page")).to_have_count(0)
    page.goto(url)
    expect(page.get_by_role("heading", name="Closed page")).to_be_visible()


def test_a_paused_space_is_said_to_be_paused(page: Page, portal: RunningPortal, blog: Blog) -> None:
    portal.deploy(ROOT / "tests" / "demos" / "static_page", "ada/paused-page")
    change(portal, "# paused-page\nservices.pause_space(space)")
    page.goto(blog.publish(f'{script(portal)}<gradio-app space="ada/paused-page"></gradio-app>'))
    expect(page.locator("gradio-app").get_by_role("status")).to_contain_text("This demo is paused.")
    expect(page.get_by_role("link", name="Open its page")).to_have_attribute(
        "href", f"{portal.url}/spaces/ada/paused-page"
    )
