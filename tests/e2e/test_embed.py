"""A Space in somebody's blog: the snippets, pasted as they are shown into a static page on another site."""

from __future__ import annotations

import socket
import subprocess

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, FrameLocator, Page, Route, expect

from tests.e2e.conftest import Blog, click, snippet
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


@pytest.fixture(scope="module")
def low_page(portal: RunningPortal, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A static Space of one line, `ada/low-page`; its own address."""
    folder = tmp_path_factory.mktemp("low-page")
    (folder / "index.html").write_text("<!doctype html><title>Low</title><p>One line.</p>")
    (folder / "README.md").write_text("---\nsdk: static\n---\n")
    return portal.deploy(folder, "ada/low-page")


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
    click(demo.get_by_role("button", name="Greet"))
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
    assert copied == plain.replace(" allow=", wanted).replace("min-height:334px", "min-height:420px")
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
    click(demo.get_by_role("button", name="More"))
    assert wait_for_height(page, f"h > {own} + 800") < own + 1000
    click(demo.get_by_role("button", name="Less"))
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
        click(add)
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
    click(demo.get_by_role("button", name="Login"))
    click(demo.get_by_role("button", name="Who am I?"))
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


def test_a_demo_that_never_answers_is_given_up_and_another_can_be_shown(
    page: Page, portal: RunningPortal, static_page: str, blog: Blog, hearing: None
) -> None:
    page.clock.install()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        page.goto(blog.publish(f'{script(portal)}<gradio-app src="{address}"></gradio-app>'), wait_until="commit")
        page.wait_for_function("() => document.querySelector('gradio-app')?.status === 'loading'")
        page.clock.fast_forward(91_000)
        expect(page.locator("gradio-app").get_by_role("status")).to_contain_text("This demo took too long to answer.")
        assert page.evaluate("heard.at(-1)")[1]["status"] == 504
    page.evaluate("src => document.querySelector('gradio-app').setAttribute('src', src)", static_page)
    expect(page.frame_locator("gradio-app iframe").get_by_role("heading", name="Static page")).to_be_visible()


def test_each_element_asks_the_portal_whose_script_stands_before_it(
    page: Page, portal: RunningPortal, static_page: str, blog: Blog
) -> None:
    other = blog.folder / "embed"
    other.mkdir()
    (other / "gradio.js").write_text("")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/embed/spaces/" in request.url else None)
    page.goto(
        blog.publish(
            f'{script(portal)}<gradio-app id="a" space="ada/static-page"></gradio-app>'
            f'<script type="module" src="{blog.url}/embed/gradio.js"></script>'
            '<gradio-app id="b" space="ada/b"></gradio-app>'
            f'<gradio-app id="c" host="{portal.url}" space="ada/static-page"></gradio-app>'
        )
    )
    expect(page.frame_locator("#a iframe").get_by_role("heading", name="Static page")).to_be_visible()
    expect(page.frame_locator("#c iframe").get_by_role("heading", name="Static page")).to_be_visible()
    expect(page.locator("#b").get_by_role("status")).to_contain_text("There is no public Space “ada/b”")
    here, there = f"{portal.url}/embed/spaces/ada/static-page", f"{blog.url}/embed/spaces/ada/b"
    assert sorted(asked) == sorted([here, there, here])


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
    expect(page.locator("gradio-app").get_by_role("status")).to_contain_text("does not allow this demo in this page")
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


# A private Space on a named site


def test_a_private_space_is_shown_by_the_token_that_its_owner_copies_on_the_named_site_alone(
    admin_page: Page, browser: Browser, portal: RunningPortal, blog: Blog
) -> None:
    portal.deploy(ROOT / "tests" / "demos" / "static_page", "ada/lent-page", "--private")
    change(portal, f"# lent-page\nservices.set_embedding(space, disabled=False, sites={blog.url!r})")
    admin_page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=portal.url)
    admin_page.goto(f"{portal.url}/spaces/ada/lent-page/settings")
    admin_page.get_by_role("button", name="Make a link").click()
    admin_page.wait_for_load_state()
    admin_page.get_by_role("button", name="Copy the web component with this link’s token").click()
    expect(admin_page.get_by_text("Copied to the clipboard.")).to_be_attached()
    copied = str(admin_page.evaluate("navigator.clipboard.readText()"))

    visitor = browser.new_context()
    page = visitor.new_page()
    page.goto(blog.publish(copied))
    expect(page.frame_locator("gradio-app iframe").get_by_role("heading", name="Static page")).to_be_visible()
    page.goto(blog.publish(copied).replace("127.0.0.1", "localhost"))
    expect(page.locator("gradio-app").get_by_role("status")).to_contain_text("does not allow this demo in this page")
    admin_page.once("dialog", lambda dialog: dialog.accept())
    admin_page.get_by_role("button", name="Revoke").click()
    page.goto(blog.publish(copied))
    expect(page.locator("gradio-app").get_by_role("status")).to_contain_text("token of this demo has expired, or was")
    visitor.close()


# Pages as they are


def test_the_pinned_script_runs_where_its_integrity_is_demanded(
    page: Page, portal: RunningPortal, static_page: str, blog: Blog
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=portal.url)
    page.goto(f"{portal.url}/spaces/ada/static-page")
    page.get_by_role("button", name="Embed this Space").click()
    page.get_by_text("Change how it looks").click()
    page.get_by_label("Stay with this version").check()
    page.get_by_role("button", name="Copy: Web component").click()
    expect(page.get_by_text("Copied to the clipboard.").first).to_be_attached()
    copied = str(page.evaluate("navigator.clipboard.readText()"))
    assert 'integrity="sha384-' in copied and 'crossorigin="anonymous"' in copied
    page.goto(blog.publish(copied))
    expect(page.frame_locator("gradio-app iframe").get_by_role("heading", name="Static page")).to_be_visible()
    page.goto(blog.publish(copied.replace("sha384-", "sha384-A")))
    page.wait_for_load_state("networkidle")
    assert page.evaluate("customElements.get('gradio-app') === undefined")


@pytest.fixture(scope="module")
def frameworks(tmp_path_factory: pytest.TempPathFactory) -> str:
    """React and Vue of the registry with their ways of writing the element, as one module."""
    folder = ROOT / "tests" / "clients"
    made = tmp_path_factory.mktemp("frameworks") / "frameworks.js"
    subprocess.run(
        [folder / "node_modules" / ".bin" / "esbuild", "frameworks.jsx", "--bundle", "--jsx=automatic", "--format=esm",
         '--define:process.env.NODE_ENV="development"', "--define:__VUE_OPTIONS_API__=true",
         "--define:__VUE_PROD_DEVTOOLS__=false", "--define:__VUE_PROD_HYDRATION_MISMATCH_DETAILS__=false",
         "--log-level=error", f"--outfile={made}"],
        cwd=folder, check=True, timeout=60,
    )  # fmt: skip
    return made.read_text()


@pytest.mark.parametrize("framework", ["react", "vue"])
def test_frameworks_write_change_move_and_remove_it(
    page: Page, portal: RunningPortal, static_page: str, blog: Blog, frameworks: str, framework: str
) -> None:
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    (blog.folder / "frameworks.js").write_text(frameworks)
    page.goto(
        blog.publish(f'{script(portal)}<div id="place"></div><script type="module" src="frameworks.js"></script>')
    )
    page.wait_for_function(f"() => window.{framework} && customElements.get('gradio-app')")
    demos = [{"id": name, "space": "ada/static-page", "theme": "light", "container": True} for name in ("one", "two")]
    page.evaluate(f"demos => {{ window.shown = window.{framework}(place); return shown.show(demos); }}", demos)
    for name in ("one", "two"):
        page.locator(f"#{name}").scroll_into_view_if_needed()
        expect(page.frame_locator(f"#{name} iframe").get_by_role("heading", name="Static page")).to_be_visible()
    page.wait_for_function("() => shown.heard.length > 1")
    assert sorted(page.evaluate("shown.heard")) == ["one", "two"]
    assert page.locator("#one .box.bordered").count() == 1
    page.evaluate("demos => shown.show(demos)", [demos[1], {**demos[0], "container": False, "theme": "dark"}])
    expect(page.locator("#one .box.bordered")).to_have_count(0)
    assert page.evaluate("[...document.querySelectorAll('gradio-app')].map((e) => e.id)") == ["two", "one"]
    for name in ("two", "one"):
        page.locator(f"#{name}").scroll_into_view_if_needed()
        expect(page.frame_locator(f"#{name} iframe").get_by_role("heading", name="Static page")).to_be_visible()
    assert page.locator("#one").get_attribute("theme_mode") == "dark"
    page.evaluate("shown.end()")
    assert page.locator("gradio-app").count() == 0
    assert [error for error in errors if "favicon" not in error and "404" not in error] == []


def test_of_twenty_on_a_page_those_that_are_seen_load_on_a_phone_too(
    page: Page, portal: RunningPortal, static_page: str, blog: Blog
) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    embeds = "".join(f'<gradio-app id="e{i}" space="ada/static-page"></gradio-app>' for i in range(20))
    page.goto(blog.publish(script(portal) + embeds, head='<meta name="viewport" content="width=device-width">'))
    expect(page.frame_locator("#e0 iframe").get_by_role("heading", name="Static page")).to_be_visible()
    page.wait_for_load_state("networkidle")
    loaded = page.evaluate("[...document.querySelectorAll('gradio-app')].filter((e) => e.status !== 'waiting').length")
    assert 2 <= loaded <= 12
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#e19").scroll_into_view_if_needed()
    expect(page.frame_locator("#e19 iframe").get_by_role("heading", name="Static page")).to_be_visible()
    assert violations(page) == []


def test_on_a_slow_line_the_reader_sees_what_it_is_waiting_for(
    page: Page, portal: RunningPortal, greeter: str, blog: Blog
) -> None:
    address = blog.publish(f'{script(portal)}<gradio-app space="ada/greeter"></gradio-app>')
    page.goto("about:blank")
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    slow = {"offline": False, "latency": 300, "downloadThroughput": 60_000, "uploadThroughput": 30_000}
    line.send("Network.emulateNetworkConditions", slow)
    page.goto(address)
    expect(page.locator("gradio-app").get_by_role("status")).to_contain_text("Loading the demo…")
    expect(page.locator("gradio-app .bones")).to_be_visible()
    predict(page.frame_locator("gradio-app iframe"))
    expect(page.locator("gradio-app .cover")).to_be_hidden()


def test_a_sleeping_space_is_drawn_and_answers(page: Page, portal: RunningPortal, greeter: str, blog: Blog) -> None:
    portal.command("sleep", "ada/greeter")
    page.goto(blog.publish(f'{script(portal)}<gradio-app space="ada/greeter"></gradio-app>'))
    predict(page.frame_locator("gradio-app iframe"))


def test_a_reader_is_told_that_a_demo_was_deleted_meanwhile(
    page: Page, portal: RunningPortal, blog: Blog, hearing: None
) -> None:
    portal.deploy(ROOT / "tests" / "demos" / "static_page", "ada/brief-page")
    page.clock.install()
    page.goto(blog.publish(f'{script(portal)}<gradio-app space="ada/brief-page"></gradio-app>'))
    shown = page.frame_locator("gradio-app iframe").get_by_role("heading", name="Static page")
    expect(shown).to_be_visible()
    page.clock.fast_forward(21_000)
    expect(shown).to_be_visible()
    change(portal, "# brief-page\nservices.delete_space(space)")
    page.clock.fast_forward(21_000)
    status = page.locator("gradio-app").get_by_role("status")
    expect(status).to_contain_text("There is no public Space “ada/brief-page”: it is private, renamed or deleted.")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    assert page.evaluate("heard.filter(([type]) => type === 'error').length") == 1


PLAIN = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Plain</title></head><body>
<h1>Plain</h1><details><summary>More</summary><div style="height:900px">tall</div></details></body></html>"""


def test_the_height_settles_whatever_the_page_in_the_frame_does(
    page: Page, portal: RunningPortal, blog: Blog, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("heights")
    pages = {
        "README.md": "---\nsdk: static\n---\n",
        # As high as the frame and a bit: each growth of the frame makes it grow again.
        "index.html": '<!doctype html><div style="min-height:100vh">A</div><p>more</p>',
        "evenly.html": "<!doctype html><script>let n = 0; const timer = setInterval(() => { document.body.append("
        "Object.assign(document.createElement('div'), { style: 'height:20px' })); if (++n === 30) clearInterval(timer);"
        " }, 60);</script>",
        # Laid out apart from the flow, which is a few pixels high.
        "map.html": '<!doctype html><div style="position:fixed;inset:0">Map</div>',
        "apart.html": '<!doctype html><div style="position:absolute;top:0;height:450px">Apart</div>',
        "more.html": PLAIN,
        # Its own word, of a part of it, goes before what is measured.
        "own.html": "<!doctype html><div style='height:900px'>Own</div><script>"
        "parent.postMessage({ type: 'portico:height', height: 333 }, '*')</script>",
    }
    for name, text in pages.items():
        (folder / name).write_text(text)
    url = portal.deploy(folder, "ada/heights")
    names = {"index": 300, "evenly": 616, "map": 300, "apart": 450, "own": 333}
    page.goto(
        blog.publish(
            script(portal)
            + "".join(
                f'<gradio-app eager id="{name}" src="{url}{name}.html"></gradio-app>' for name in (*names, "more")
            )
        )
    )
    heights = "Object.fromEntries([...document.querySelectorAll('gradio-app')].map((e) => [e.id, e.shadowRoot"
    heights += ".querySelector('iframe')?.offsetHeight]))"
    page.wait_for_function(f"() => {heights}.evenly >= 616")
    page.wait_for_timeout(3000)  # as long as an echo may take to be known, and then some
    found = page.evaluate(heights)
    own = found.pop("more")
    assert found == names
    # By key: where a frame of many has just come into view, Chromium may still give a click to the one before it.
    more = page.frame_locator("#more iframe").get_by_text("More")
    more.press("Enter")
    page.wait_for_function(f"() => {heights}.more === {own + 900}")
    more.press("Enter")
    page.wait_for_function(f"() => {heights}.more === {own}")


SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""


@pytest.mark.parametrize("kind", ["gradio", "static"])
def test_the_page_does_not_jump_when_a_demo_comes(
    page: Page, portal: RunningPortal, greeter: str, blog: Blog, low_page: str, kind: str
) -> None:
    """With the snippet as it stands in the dropdown once that has been open for a moment."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=portal.url)
    page.goto(f"{portal.url}/spaces/ada/{'greeter' if kind == 'gradio' else 'low-page'}")
    page.get_by_role("button", name="Embed this Space").click()
    expect(page.locator("#embed-element")).to_contain_text("initial_height=")
    page.get_by_role("button", name="Copy: Web component").click()
    expect(page.get_by_text("Copied to the clipboard.").first).to_be_attached()
    copied = str(page.evaluate("navigator.clipboard.readText()"))
    page.add_init_script(SHIFTS)

    def come_late(route: Route) -> None:
        page.wait_for_function("() => performance.getEntriesByName('first-paint').length")
        route.continue_()

    page.route("**/embed/gradio.js", come_late)
    words = f"<p>{'Words of the blog. ' * 200}</p>"
    for width, before in ((1280, ""), (390, ""), (1280, '<div style="height:1400px"></div>')):
        page.set_viewport_size({"width": width, "height": 800})
        head = '<meta name="viewport" content="width=device-width">'
        page.goto(blog.publish(f"{before}{copied}{words}", head=head))
        page.locator("gradio-app").scroll_into_view_if_needed()
        if kind == "gradio":
            predict(page.frame_locator("gradio-app iframe"))
        page.wait_for_function("() => document.querySelector('gradio-app').status === 'ready'")
        page.wait_for_timeout(500)
        assert page.evaluate("shifted") <= 0.02, (width, before)


SERVER = f"""
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write({PLAIN.encode()!r})

http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", 7860))), Handler).serve_forever()
"""


def test_the_height_of_a_demo_that_is_still_starting_is_reserved_once_it_is_there(
    page: Page, portal: RunningPortal, blog: Blog, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("slow")
    (folder / "app.py").write_text("import time\ntime.sleep(4)\n" + SERVER)
    (folder / "README.md").write_text("---\nsdk: python\napp_file: app.py\n---\n")
    portal.deploy(folder, "ada/slow")
    page.goto(blog.publish(f'{script(portal)}<gradio-app space="ada/slow"></gradio-app>'))
    expect(page.frame_locator("gradio-app iframe").get_by_role("heading", name="Plain")).to_be_visible()
    page.wait_for_timeout(500)
    own = frame_height(page)
    portal.command("sleep", "ada/slow")
    page.goto(f"{portal.url}/spaces/ada/slow")
    page.get_by_role("button", name="Embed this Space").click()
    shown = page.locator("#embed-element")
    expect(shown).to_contain_text(' height="600px"')
    expect(shown).to_contain_text(f'initial_height="{own}px"', timeout=20_000)


@pytest.mark.parametrize("sdk", ["python", "streamlit"])
def test_the_height_of_any_kind_of_demo_is_followed_both_ways(
    page: Page, portal: RunningPortal, blog: Blog, tmp_path_factory: pytest.TempPathFactory, sdk: str
) -> None:
    folder = tmp_path_factory.mktemp(sdk)
    files = {
        "python": ("app.py", SERVER),
        "streamlit": (
            "app.py",
            "import streamlit as st\nst.title('Plain')\nif st.toggle('More'):\n"
            "    st.html('<div style=\"height:900px\">tall</div>')\n",
        ),
    }
    name, text = files[sdk]
    (folder / name).write_text(text)
    (folder / "README.md").write_text(f"---\nsdk: {sdk}\napp_file: {name}\n---\n")
    portal.deploy(folder, f"ada/plain-{sdk}")
    page.goto(blog.publish(f'{script(portal)}<gradio-app space="ada/plain-{sdk}"></gradio-app>'))
    demo = page.frame_locator("gradio-app iframe")
    expect(demo.get_by_role("heading", name="Plain")).to_be_visible()
    more = demo.get_by_text("More")
    page.wait_for_function("() => document.querySelector('gradio-app').status === 'ready'")
    page.wait_for_timeout(500)
    own = frame_height(page)
    assert own < 600
    click(more)
    assert own + 800 < wait_for_height(page, f"h > {own} + 800") < own + 1100
    click(more)
    assert abs(wait_for_height(page, f"h < {own} + 100") - own) <= 40


def test_what_a_demo_may_do_and_how_it_is_reached_with_the_keyboard(
    page: Page, portal: RunningPortal, static_page: str, greeter: str, blog: Blog
) -> None:
    page.emulate_media(reduced_motion="reduce", color_scheme="light")
    own = (ROOT / "embed_js" / "gradio.js").read_text()
    (blog.folder / "gradio.js").write_text(own)  # a blog may keep the script itself, and name the portal
    page.goto(
        blog.publish(
            f'<script type="module" src="gradio.js"></script><a href="#a" id="before">Before</a>'
            f'<gradio-app id="a" host="{portal.url}" space="ada/static-page" allow="camera"></gradio-app>'
            f'<gradio-app id="b" host="{portal.url}" space="ada/greeter" theme_mode="system"></gradio-app>'
        )
    )
    first = page.frame_locator("#a iframe")
    expect(first.get_by_role("heading", name="Static page")).to_be_visible()
    demo = page.frame_locator("#b iframe")
    expect(demo.get_by_label("Name")).to_be_visible()
    allowed = "document => ['camera', 'microphone', 'geolocation'].map((f) => document.featurePolicy.allowsFeature(f))"
    by_frame = [frame.evaluate(f"({allowed})(document)") for frame in page.frames[1:]]
    assert sorted(by_frame) == [[False, False, False], [True, False, False]]
    assert page.locator("#b .bones i").first.evaluate("bone => getComputedStyle(bone).animationName") == "none"
    page.locator("#before").focus()
    for _ in range(2):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "a":
            break
    expect(first.get_by_role("button", name="Add a line")).to_be_focused()
    page.keyboard.press("Enter")
    expect(first.get_by_text("Line 1")).to_be_visible()
    expect(demo.locator("body")).not_to_have_class("dark")
    page.emulate_media(reduced_motion="reduce", color_scheme="dark")
    expect(demo.locator("body")).to_have_class("dark")
