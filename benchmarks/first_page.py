"""The first page of a Gradio Space in a browser that has never seen it: awake, asleep, and asked directly.

python benchmarks/first_page.py [--rounds 7]

Chromium opens the page with an empty cache, fills in the text box as soon as it is there, and waits for the answer.
Each round asks in turn: the app alone (`python app.py`, awake), the Space awake, and the Space asleep, whose worker the
visit wakes. Times are in milliseconds from the beginning of the navigation; bytes are what came over the network. A
program that calls the sleeping Space's API stands beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import peers  # noqa: E402
from benchmarks.prediction import Client  # noqa: E402
from tests.running_chromium import chromium  # noqa: E402
from tests.running_portal import RunningPortal  # noqa: E402

SLEEP_SECONDS = 3
VISITS = 4
"""`apps.gateway.preloads.VISITS`."""
ANSWERED = """() => [...document.querySelectorAll("textarea, input")].some((box) => box.value === "Hello Ada!")"""
TIMES = """() => [
  performance.getEntriesByType("navigation")[0].responseStart,
  performance.getEntriesByName("first-contentful-paint")[0].startTime,
]"""


@dataclass(frozen=True)
class Visit:
    """A first visit: milliseconds, bytes, and how many requests they came in."""

    first_byte: float
    first_paint: float
    interactive: float
    answer: float
    transferred: float
    requests: float


def visit(browser: Browser, url: str) -> Visit:
    """Open the page as somebody new, and have one prediction made."""
    context = browser.new_context()
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: list[int] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
    page.goto(url, wait_until="commit")
    began = page.evaluate("() => performance.timeOrigin")
    box = page.get_by_role("textbox").first
    box.wait_for()
    interactive = time.time() * 1000 - began
    box.fill("Ada")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_function(ANSWERED)
    answer = time.time() * 1000 - began
    page.wait_for_load_state("networkidle")
    first_byte, first_paint = page.evaluate(TIMES)
    context.close()
    return Visit(first_byte, first_paint, interactive, answer, sum(sizes), sum(map(bool, sizes)))


def stage(portal: RunningPortal) -> str:
    return str(json.loads(portal.get("/api/spaces/ada/hello")[1])["runtime"]["stage"])


def wait_for(portal: RunningPortal, wanted: str) -> None:
    while stage(portal) != wanted:
        time.sleep(0.2)


def call(portal: RunningPortal) -> float:
    """Milliseconds until a program that calls the Space has its answer."""
    client = Client(portal.port, portal.host("ada-hello"))
    began = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:  # Playwright's own loop runs in this thread
        pool.submit(asyncio.run, client.run()).result()
    return (time.perf_counter() - began) * 1000


def measure(browser: Browser, portal: RunningPortal, alone: peers.Alone, rounds: int) -> None:
    space, directly = f"http://{portal.host('ada-hello')}/", f"http://127.0.0.1:{alone.port}/"
    with alone.asked():
        visit(browser, directly)
    # What is asked for the first time ever is compressed then; and what a page asks for is learned.
    for _ in range(VISITS + 1):
        visit(browser, space)
        time.sleep(2)
    found: dict[str, list[Visit]] = {"directly": [], "awake": [], "asleep": []}
    calls: list[float] = []
    for _ in range(rounds):
        with alone.asked():
            found["directly"].append(visit(browser, directly))
        wait_for(portal, "SLEEPING")
        time.sleep(0.5)
        found["asleep"].append(visit(browser, space))
        found["awake"].append(visit(browser, space))
        wait_for(portal, "SLEEPING")
        time.sleep(0.5)
        calls.append(call(portal))
    middle = {name: [median(column) for column in zip(*map(astuple, v), strict=True)] for name, v in found.items()}
    print(f"medians of {rounds} rounds\n{'':<10} first byte  first paint  interactive  answered   KiB  requests")
    for name, (byte, paint, ready, answered, size, requests) in middle.items():
        print(f"{name:<10} {byte:10.1f} {paint:12.0f} {ready:12.0f} {answered:9.0f} {size / 1024:5.0f} {requests:9.0f}")
    print(f"asleep, a call of its API: answered after {median(calls):.0f}")
    direct = middle["directly"]
    for name in ("awake", "asleep"):
        paint, ready, answered, size = (middle[name][n] / direct[n] for n in (1, 2, 3, 4))
        print(f"{name} / directly: paint {paint:.2f}, interactive {ready:.2f}, answer {answered:.2f}, bytes {size:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with (
        peers.portal_with_gradio(peers.GREETER, PORTICO_SLEEP_SECONDS=str(SLEEP_SECONDS)) as (portal, folder),
        peers.gradio(portal.python, folder) as alone,
        sync_playwright() as playwright,
    ):
        browser = chromium(playwright)
        measure(browser, portal, alone, options.rounds)
        browser.close()


if __name__ == "__main__":
    main()
