"""Compare any Gradio demos, unmodified, through the portal with the same demos run directly.

python -m tests.e2e.compare FOLDER...

Starts a portal of its own, deploys each folder to it, and runs it directly with the Environment that the portal built.
Both are called at every endpoint with the example values that the demo itself tells (`/gradio_api/info`; its defaults
where it has any), or as `FOLDER.calls.json` beside the folder says (see `answers.py`), then used on each of their pages
in Chromium: every text field filled, every button pressed. Prints a line for each demo; exits 1 when one differs. What
two runs without the portal answer differently is random, and not compared.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import json
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradio_client import Client
from playwright.sync_api import Browser, Locator, Page, TimeoutError, sync_playwright

from tests.e2e.answers import answers_to
from tests.e2e.conftest import ADMIN
from tests.e2e.directly import local_getaddrinfo, run_directly
from tests.running_chromium import chromium
from tests.running_portal import ROOT, RunningPortal

FILES = ROOT / "tests" / "demos"
PICTURE, TEXT = FILES / "image_filter" / "picture.png", FILES / "file_exchange" / "first.txt"
ADDRESSES = re.compile(r"https?://(localhost|127\.0\.0\.1|[\w.-]+\.localhost)(:\d+)?")
STATUS = re.compile(r"^- status.*$", re.MULTILINE)
BUSY = re.compile(r"processing \||queue: \d")
MOST_BUTTONS = 12
PATIENCE_SECONDS = 20


class Refusal(str):
    """An error as an answer."""

    __slots__ = ()


def calls_of(folder: Path, url: str) -> list[dict[str, Any]]:
    own = folder.with_name(f"{folder.name}.calls.json")
    if own.exists():
        return list(json.loads(own.read_text()))
    client = Client(url, verbose=False)
    try:
        endpoints = client.view_api(print_info=False, return_format="dict")["named_endpoints"]  # type: ignore[index]
    finally:
        client.close()
    return [
        {"endpoint": name, "args": [example(p) for p in endpoint["parameters"]], "stream": True}
        for name, endpoint in endpoints.items()
    ]


def example(parameter: dict[str, Any]) -> Any:
    if parameter.get("parameter_has_default") and parameter["parameter_default"] is not None:
        return parameter["parameter_default"]
    return on_this_machine(parameter["example_input"], parameter["component"])


def on_this_machine(value: Any, component: str) -> Any:
    """An example whose files are on this machine instead of the internet."""
    if isinstance(value, dict) and "path" in value:
        return {"path": str(PICTURE if component.startswith("Image") else TEXT)}
    if isinstance(value, dict):
        return {key: on_this_machine(item, component) for key, item in value.items()}
    return [on_this_machine(item, component) for item in value] if isinstance(value, list) else value


def asked(url: str, calls: list[dict[str, Any]], folder: Path) -> list[Any]:
    """What each call answers, or the error that it answers with."""
    found: list[Any] = []
    try:
        return answers_to(url, calls, folder)
    except Exception:  # one by one then, each in a session of its own: errors are answers too
        login = [call for call in calls if "auth" in call]
        for call in calls:
            if "endpoint" in call:
                try:
                    found += answers_to(url, [*login, call], folder)
                except Exception as error:
                    found.append(Refusal(f"{call['endpoint']}: {type(error).__name__}: {error}"))
    return found


def walk(page: Page, url: str, login: tuple[str, str] | None) -> Iterator[str]:
    """Use the demo as a visitor would, and stop where there is something to look at."""
    page.goto(url)
    if login:
        page.get_by_label("username").fill(login[0])
        yield "login"
        page.get_by_label("password").fill(login[1])
        page.get_by_role("button", name="Login").click()
    config = page.wait_for_function("window.gradio_config?.components && window.gradio_config").json_value()
    for path, *_ in config.get("pages") or [[""]]:
        page.goto(f"{url}{path}")
        main = page.locator(".gradio-container main")
        main.wait_for()
        yield f"page /{path}"
        for box in visible(main.locator("textarea:enabled, input[type=text]:enabled")):
            box.fill("abc")
            box.press("Enter")
        yield f"page /{path}, filled"
        for number, button in enumerate(visible(main.locator("button:enabled"))[:MOST_BUTTONS]):
            with contextlib.suppress(TimeoutError):  # gone, or covered, since an earlier one was pressed
                button.click(timeout=5000)
            yield f"page /{path}, button {number + 1}"


def visible(found: Locator) -> list[Locator]:
    return [one for one in found.all() if one.is_visible()]


class Visitor:
    """Somebody who walks through a demo in a browser of their own."""

    def __init__(self, browser: Browser, url: str, login: tuple[str, str] | None) -> None:
        self.context = browser.new_context(viewport={"width": 1000, "height": 900}, reduced_motion="reduce")
        self.page, self.told = self.context.new_page(), list[str]()
        self.page.on("pageerror", lambda error: self.told.append(f"error: {error.message}"))
        self.page.on("dialog", lambda dialog: (self.told.append(dialog.message), dialog.dismiss()))
        self.steps = walk(self.page, url, login)

    def sees(self) -> list[str]:
        """The page as a reader hears it, how it looks, and what it said otherwise; what is announced and gone aside."""
        heard = STATUS.sub("", self.page.locator("body").aria_snapshot())
        return ADDRESSES.sub("", "\n".join([heard, *look(self.page), *self.told])).splitlines()


def differences(browser: Browser, url: str, other_url: str, login: tuple[str, str] | None) -> dict[str, str]:
    """Where two demos that are used in the same way show something else: the step, and what; empty where the same."""
    one, other = Visitor(browser, url, login), Visitor(browser, other_url, login)
    found = {}
    for step, other_step in itertools.zip_longest(one.steps, other.steps):
        if step != other_step:
            found[step or other_step] = f"{step} instead of {other_step}"
            break
        found[step] = "" if same_at_last(one, other) else diff(other.sees(), one.sees())
    one.context.close()
    other.context.close()
    return found


def same_at_last(one: Visitor, other: Visitor) -> bool:
    agreed, deadline = 0, time.monotonic() + PATIENCE_SECONDS
    while agreed < 2 and time.monotonic() < deadline:
        one.page.wait_for_timeout(250)
        seen = one.sees()
        agreed = agreed + 1 if seen == other.sees() and not any(BUSY.search(line) for line in seen) else 0
    return agreed >= 2


def diff(expected: list[str], found: list[str]) -> str:
    return "\n".join([*difflib.unified_diff(expected, found, "directly", "portal", n=1, lineterm="")][:40])


def look(page: Page) -> list[str]:
    """Where its elements lie and in which colours and type; numbers that Svelte gives as they come left out."""
    return list(
        page.evaluate(
            """() => [...document.querySelectorAll('.gradio-container main *')].slice(0, 2000).map((e) => {
                const box = e.getBoundingClientRect(), s = getComputedStyle(e);
                const name = /^c\\d+$/.test(e.id) ? '' : e.id;
                return [e.tagName, name, ...[box.x, box.y, box.width, box.height].map(Math.round),
                    s.color, s.backgroundColor, s.fontFamily, s.fontSize].join(' ');
            })"""
        )
    )


def compare(portal: RunningPortal, browser: Browser, folder: Path, home: Path) -> str:
    """Empty when both answer the same, else how they differ; it is printed, with a note of what was compared."""
    name = folder.name.lower().replace("_", "-")
    host = portal.deploy(folder, f"ada/{name}")
    with run_directly(portal, folder, home) as url:
        calls = calls_of(folder, url)
        login = next((tuple(call["auth"]) for call in calls if "auth" in call), None)
        direct, through = asked(url, calls, folder), asked(host, calls, folder)
        again = direct if direct == through else asked(url, calls, folder)
        looks = differences(browser, host, url, login)
        looks_again = differences(browser, url, url, login) if any(looks.values()) else {}
    wrong = [
        f"answer {number}: {diff(str(theirs).splitlines(), str(ours).splitlines())}"
        for number, (ours, theirs, repeated) in enumerate(zip(through, direct, again, strict=True))
        if ours != theirs and theirs == repeated
    ]
    random = [step for step, what in looks_again.items() if what]
    wrong += [f"{step}: {what}" for step, what in looks.items() if what and step not in random]
    random += [f"answer {number}" for number, answer in enumerate(direct) if answer != again[number]]
    note = f"{len(direct)} calls and {len(looks)} looks compared"
    note += f"; random, so not compared: {', '.join(random)}" if random else ""
    errors = [str(answer) for answer in direct if isinstance(answer, Refusal)]
    note += f"; errors as answers: {', '.join(errors)}" if errors else ""
    print(f"{folder.name:32} {'DIFFERS' if wrong else 'same'}: {note}", *wrong, sep="\n  ", flush=True)
    return "\n".join(wrong)


def main(folders: list[Path]) -> int:
    socket.getaddrinfo = local_getaddrinfo  # type: ignore[assignment]
    with (
        tempfile.TemporaryDirectory() as scratch,
        RunningPortal(Path(scratch, "portal"), PORTICO_ADMIN=":".join(ADMIN)) as portal,
        sync_playwright() as playwright,
    ):
        browser = chromium(playwright)
        results = []
        for number, folder in enumerate(folders):
            home = Path(scratch, str(number))
            home.mkdir()
            try:
                results.append(compare(portal, browser, folder, home))
            except Exception as error:  # the others shall be compared all the same
                results.append(str(error))
                print(f"{folder.name:32} FAILED: {error}", flush=True)
        browser.close()
    return int(any(results))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main([Path(argument).absolute() for argument in sys.argv[1:]]))
