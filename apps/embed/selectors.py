"""What another page needs to show a Space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils.html import escape

from apps.builds import bundles
from apps.embed import native
from apps.embed.script import script
from apps.gateway.framed import TELL_THEIR_HEIGHT
from apps.spaces.hostnames import is_named, who_may_show
from apps.spaces.links import address_of
from apps.spaces.models import ShareLink, Space

# What a demo may ask the visitor for, or do, inside somebody's page.
ASKED = "camera; microphone"
ALWAYS = "clipboard-write; fullscreen; autoplay"
FRAME_PIXELS = 600
"""Height of a plain frame, and of demos that do not tell theirs."""
FIRST_PIXELS = 300
"""Height of the element's frame until the demo tells its own."""
BORDER_PIXELS = 2
"""The element's border, above and below together."""
INFO_PIXELS = 32
"""The line below the demo."""


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
    version: str = ""
    integrity: str = ""
    native_script: str = ""
    title: str = ""
    height: str = ""
    allow: str = ASKED
    first_pixels: int = FIRST_PIXELS
    border_pixels: int = BORDER_PIXELS
    info_pixels: int = INFO_PIXELS


def title_of(space: Space) -> str:
    """The Space's title for people, its name where it has none."""
    return space.title or space.name


def description_of(space: Space) -> str:
    """One sentence for people who have not opened it."""
    return space.short_description or f"{title_of(space)}, a {space.get_sdk_display()} demo by {space.owner.name}."


def is_embeddable(space: Space) -> bool:
    """Whether strangers' pages can show the Space: it is public, and its owner allows it."""
    return not space.is_private and not space.disable_embedding


def may_show(space: Space, origin: str) -> bool:
    """Whether a page may show the Space, as the gateway's `frame-ancestors` says it too.

    Args:
        origin: of the page; empty for one of the portal's own, of which browsers say none.
    """
    if space.disable_embedding:
        return False
    if not origin or origin == settings.PORTICO_URL:
        return True
    sites = who_may_show(space.embedding_sites, disabled=space.disable_embedding, private=space.is_private)
    return sites is None or is_named(sites, origin)


def element(space: Space, *, token: str = "") -> str:
    """The script and the element, as HTML; with a link's token for a Space that is closed."""
    told = space.sdk in TELL_THEIR_HEIGHT
    height = "" if told else f' height="{FRAME_PIXELS}px"'
    # Until the script has come the page does not know the element, and what is below would jump.
    place = f"display:block;min-height:{(FIRST_PIXELS if told else FRAME_PIXELS) + BORDER_PIXELS + INFO_PIXELS}px"
    sign = f' token="{escape(token)}"' if token else ""
    attributes = f'space="{escape(space.slug)}"{sign}{height} allow="{ASKED}" style="{place}"'
    return _written(script_address(), attributes, _link(space))


def _native(space: Space, source: str) -> str:
    """The same with Gradio's own element, which leaves what stands in it where it is."""
    return _written(source, f'src="{escape(space.url)}"', f"<noscript>{_link(space)}</noscript>")


def _link(space: Space) -> str:
    """For readers without scripts, as in feeds."""
    return f'<a href="{escape(space.url)}">{escape(title_of(space))}</a>'


def _written(source: str, attributes: str, inside: str) -> str:
    return (
        f'<script type="module" src="{escape(source)}"></script>\n<gradio-app {attributes}>\n  {inside}\n</gradio-app>'
    )


def script_address() -> str:
    return f"{settings.PORTICO_URL}/embed/gradio.js"


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
    page, current = f"{settings.PORTICO_URL}{space.get_absolute_url()}", script()
    gradio = native.version_of(space)
    native_script = f"{settings.PORTICO_URL}/embed/{gradio}/{bundles.ENTRY}" if gradio else ""
    return Snippets(
        address=space.url,
        iframe=frame(space, width="100%", height=FRAME_PIXELS),
        element=element(space),
        native=_native(space, native_script) if native_script else "",
        badge=f"[![Open in Portico]({settings.PORTICO_URL}/embed/badge.svg)]({page})",
        embeddable=True,
        script=script_address(),
        version=f"{settings.PORTICO_URL}/embed/gradio-{current.digest}.js",
        integrity=current.integrity,
        native_script=native_script,
        title=title_of(space),
        height="" if space.sdk in TELL_THEIR_HEIGHT else f"{FRAME_PIXELS}px",
    )


def describe(space: Space, *, origin: str = "", link: ShareLink | None = None) -> dict[str, Any]:
    """Return what the <gradio-app> element asks about a Space (its `Description` type).

    Args:
        origin: of the page that asks, as for `may_show`.
        link: whose token it brings. A page that may not show the Space is told nothing of it but that.
    """
    embeddable = may_show(space, origin)
    if link and not embeddable:
        return {"space": space.slug, "embeddable": False}
    return {
        "space": space.slug,
        "url": address_of(link) if link else space.url,
        "page": f"{settings.PORTICO_URL}{space.get_absolute_url()}",
        "title": title_of(space),
        "sdk": space.sdk,
        "stage": space.stage,
        "embeddable": embeddable,
    }
