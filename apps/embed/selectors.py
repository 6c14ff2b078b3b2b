"""What another page needs to show a Space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils.html import escape

from apps.builds import bundles
from apps.embed import native
from apps.spaces.models import SDK, Space

# What a demo may ask the visitor for, or do, inside somebody's page.
ASKED = "camera; microphone"
ALWAYS = "clipboard-write; fullscreen; autoplay"
FRAME_PIXELS = 600
"""Height of a plain frame, and of demos that do not tell theirs."""
TELL_THEIR_HEIGHT = {SDK.GRADIO, SDK.STREAMLIT}


@dataclass(frozen=True)
class Snippets:
    """What "Embed this Space" offers. The pieces of HTML are empty where they would show nothing; so are the parts of
    the element's, by which the page writes it anew with other attributes."""

    address: str
    iframe: str = ""
    element: str = ""
    native: str = ""
    badge: str = ""
    embeddable: bool = False
    script: str = ""
    native_script: str = ""
    title: str = ""
    height: str = ""
    allow: str = ASKED


def title_of(space: Space) -> str:
    """The Space's title for people, its name where it has none."""
    return space.title or space.name


def description_of(space: Space) -> str:
    """One sentence for people who have not opened it."""
    return space.short_description or f"{title_of(space)}, a {space.get_sdk_display()} demo by {space.owner.name}."


def is_embeddable(space: Space) -> bool:
    """Whether strangers' pages can show the Space: it is public, and its owner allows it."""
    return not space.is_private and not space.disable_embedding


def frame(space: Space, *, width: str, height: int, style: str = "border:0") -> str:
    """The Space in a plain frame, as HTML."""
    return (
        f'<iframe src="{escape(space.url)}" title="{escape(title_of(space))}" width="{width}" height="{height}"'
        f' style="{style}" loading="lazy" allow="{ASKED}; {ALWAYS}"></iframe>'
    )


def snippets(space: Space) -> Snippets:
    """Return the direct address and the HTML to paste, ready for any page on another site.

    Args:
        space: with its `owner` loaded.
    """
    if not is_embeddable(space):
        return Snippets(address=space.url)
    title, url = escape(title_of(space)), escape(space.url)
    page = f"{settings.PORTICO_URL}{space.get_absolute_url()}"
    script = f"{settings.PORTICO_URL}/embed/gradio.js"
    pixels = "" if space.sdk in TELL_THEIR_HEIGHT else f"{FRAME_PIXELS}px"
    height = f' height="{pixels}"' if pixels else ""
    link = f'  <a href="{url}">{title}</a>\n'
    version = native.version_of(space)
    native_script = f"{settings.PORTICO_URL}/embed/{version}/{bundles.ENTRY}" if version else ""
    return Snippets(
        address=space.url,
        iframe=frame(space, width="100%", height=FRAME_PIXELS),
        element=(
            f'<script type="module" src="{escape(script)}"></script>\n'
            f'<gradio-app space="{escape(space.slug)}"{height} allow="{ASKED}">\n{link}</gradio-app>'
        ),
        native=(
            f'<script type="module" src="{escape(native_script)}"></script>\n'
            f'<gradio-app src="{url}">\n{link}</gradio-app>'
            if native_script
            else ""
        ),
        badge=f"[![Open in Portico]({settings.PORTICO_URL}/embed/badge.svg)]({page})",
        embeddable=True,
        script=script,
        native_script=native_script,
        title=title_of(space),
        height=pixels,
    )


def describe(space: Space) -> dict[str, Any]:
    """Return what the <gradio-app> element asks about a Space (its `Description` type)."""
    return {
        "space": space.slug,
        "url": space.url,
        "page": f"{settings.PORTICO_URL}{space.get_absolute_url()}",
        "title": title_of(space),
        "sdk": space.sdk,
        "stage": space.stage,
        "embeddable": is_embeddable(space),
    }
