"""What is wrong with a page for those who read it."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

WIDTHS = (1280, 375)
THEMES = ("light", "dark")
OPTIONS = {"iframes": False, "resultTypes": ["violations"]}
OF_LOOKS = {"runOnly": ["color-contrast", "link-in-text-block", "scrollable-region-focusable"], **OPTIONS}
"""What of axe-core's rules depends on colours and sizes; the others need to hold only once."""


def complaints(page: Page, url: str | None = None, *, part: str | None = None, status: int = 200) -> list[str]:
    """What is wrong with the page at `url`, or with the one that is open: errors, something beside the edge, and what
    axe-core finds in our `part` of it; at a desk and on a phone, in both themes. It is loaded only once."""
    said: list[str] = []

    def note(error: object) -> None:
        said.append(f"error: {error}")

    page.on("pageerror", note)
    page.emulate_media(color_scheme="light", reduced_motion="reduce")  # nor a colour that is still changing
    if url is not None:
        answer = page.goto(url)
        if answer is not None and answer.status != status:
            said.append(f"answers {answer.status}")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 760})
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if over > 0:
            said.append(f"{width}: {over} px too wide")
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            first = (width, theme) == (WIDTHS[0], THEMES[0])
            found = Axe().run(page, part, options=OPTIONS if first else OF_LOOKS).response["violations"]
            said += [f"{theme} {width}: {v['id']}: {v['nodes'][0]['html'][:200]}" for v in found]
    page.remove_listener("pageerror", note)
    return said
