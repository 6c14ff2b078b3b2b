"""Debian's Chromium, without a window, driven by Playwright."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium(playwright: Playwright, *further: str) -> Browser:
    """Start one, with further arguments."""
    return playwright.chromium.launch(executable_path="/usr/bin/chromium", args=[*ARGUMENTS, *further])
