"""A Space in a page of another site: the framed element, native rendering and a frame written by hand, side by side.

python benchmarks/embed.py [--rounds 10]

Chromium opens one blog page with an empty cache, with each variant in turn, while the Space is awake. It writes into
the text box as soon as it is there, and waits for the answer. Times are in milliseconds from the beginning of the
page's navigation; bytes are what came over the network, headers included; the layout shift (CLS) is the blog page's.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, FrameLocator, Page, Request, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import peers  # noqa: E402
from tests.running_chromium import chromium  # noqa: E402
from tests.running_portal import RunningPortal  # noqa: E402

WORDS = "<p>" + "Words of a blog, as many as make a paragraph. " * 8 + "</p>"
PAGE = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>A blog</title><link rel="icon" href="data:,">
<style>body {{ max-width: 45rem; margin: 2rem auto; font: 1rem/1.5 sans-serif }}</style>
<h1>A blog</h1>{WORDS}%s{WORDS * 4}</html>"""
SHIFTS = """
window.shifts = [];
if (window === top) new PerformanceObserver((list) => {
  for (const shift of list.getEntries()) if (!shift.hadRecentInput) shifts.push([
    shift.value, shift.sources.map(({ node, previousRect: a, currentRect: b }) =>
      `${node?.nodeName} ${Math.round(a.y)}+${Math.round(a.height)} to ${Math.round(b.y)}+${Math.round(b.height)}`),
  ]);
}).observe({ type: "layout-shift", buffered: true });
"""
GOAL = 0.02


@dataclass(frozen=True)
class Visit:
    """A first visit: milliseconds, bytes, how many requests they came in, and the layout shift."""

    interactive: float
    answer: float
    transferred: float
    requests: float
    shift: float


def variants(browser: Browser, portal: RunningPortal) -> dict[str, str]:
    """HTML by what it is called here: a plain frame, and what "Embed this Space" gives to whoever looks at it for a
    moment: the element's height is known then."""
    by_hand = f'<iframe src="http://{portal.host("ada-hello")}/" title="Hello" width="100%" height="600"></iframe>'
    page = browser.new_page()
    page.goto(f"{portal.url}/spaces/ada/hello")
    page.get_by_role("button", name="Embed this Space").click()
    page.locator("#embed-element", has_text="initial_height").wait_for()
    framed, native = (page.locator(name).inner_text() for name in ("#embed-element", "#embed-native"))
    page.close()
    return {"iframe": by_hand, "framed": framed, "native": native}


def visit(browser: Browser, name: str, url: str) -> tuple[Visit, list[str]]:
    """Open the page as somebody new, and have one prediction made. Also returns what has moved."""
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(SHIFTS)
    finished: list[Request] = []
    page.on("requestfinished", lambda request: finished.append(request))  # noqa: PLW0108 Playwright takes no built-in
    page.goto(url, wait_until="commit")
    began = page.evaluate("() => performance.timeOrigin")
    within: Page | FrameLocator = page if name == "native" else page.frame_locator("iframe")
    box = within.get_by_role("textbox").first
    box.fill("Ada")
    interactive = time.time() * 1000 - began
    within.get_by_role("button", name="Submit").click()
    answered = within.locator("textarea, input").nth(1)
    while answered.input_value() != "Hello Ada!":
        time.sleep(0.005)
    answer = time.time() * 1000 - began
    page.wait_for_load_state("networkidle")
    sizes = [request.sizes() for request in finished]
    transferred = sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes)
    shifts = page.evaluate("() => shifts")
    context.close()
    moved = [f"{value:.4f}: {', '.join(sources)}" for value, sources in shifts]
    return Visit(interactive, answer, transferred, len(sizes), sum(value for value, _ in shifts)), moved


def measure(browser: Browser, pages: dict[str, str], rounds: int) -> None:
    for name, url in pages.items():  # what is asked for the first time ever is compressed then
        visit(browser, name, url)
        time.sleep(4)
    found: dict[str, list[Visit]] = {name: [] for name in pages}
    causes: dict[str, list[str]] = {}
    for _ in range(rounds):
        for name, url in pages.items():
            one, moved = visit(browser, name, url)
            found[name].append(one)
            causes[name] = moved
    middle = {name: [median(column) for column in zip(*map(astuple, v), strict=True)] for name, v in found.items()}
    print(f"medians of {rounds} rounds\n{'':<8} interactive  answered   KiB  requests     CLS")
    for name, (ready, answered, size, requests, shift) in middle.items():
        print(f"{name:<8} {ready:11.0f} {answered:9.0f} {size / 1024:5.0f} {requests:9.0f} {shift:7.4f}")
    by_hand = middle["iframe"]
    for name in ("framed", "native"):
        ready, answered, size = (middle[name][n] / by_hand[n] for n in range(3))
        print(f"{name} / iframe: interactive {ready:.2f}, answer {answered:.2f}, bytes {size:.2f}")
    for name, values in middle.items():
        if values[-1] > GOAL:
            print(f"{name}: more than {GOAL} of layout shift, of", *causes[name], sep="\n  ")


@contextmanager
def blog(folder: Path) -> Iterator[str]:
    """A server of static files on another site than the portal's; its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="portico-benchmark-") as folder,
        peers.portal_with_gradio(peers.GREETER, PORTICO_SLEEP_SECONDS="3600") as (portal, _),
        blog(Path(folder)) as address,
        sync_playwright() as playwright,
    ):
        while not list((portal.data / "bundles").glob("*/gradio.js")):
            time.sleep(0.2)
        browser = chromium(playwright)
        pages = {}
        for name, html in variants(browser, portal).items():
            Path(folder, f"{name}.html").write_text(PAGE % html)
            pages[name] = f"{address}/{name}.html"
        measure(browser, pages, options.rounds)
        browser.close()


if __name__ == "__main__":
    main()
