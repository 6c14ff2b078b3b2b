"""oEmbed 1.0 (https://oembed.com): what a blog shows in the place of a pasted address of a Space."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlencode, urlsplit
from xml.etree import ElementTree

from django.conf import settings
from django.contrib.auth.models import AnonymousUser

from apps.embed import previews
from apps.embed.selectors import FRAME_PIXELS, frame, is_embeddable, title_of
from apps.spaces.models import Space
from apps.spaces.selectors import get_space, readable_by

FRAME_WIDTH = 800
MAX_URL_CHARACTERS = 2_000
MIN_PIXELS, MAX_PIXELS = 40, 10_000
CACHE_SECONDS = 3600
FORMATS = ("json", "xml")


def find(url: str) -> Space:
    """The public Space that an address of it means: of its page on the portal, or of its own host.

    Raises:
        Space.DoesNotExist: no public Space has it.
    """
    stranger = AnonymousUser()
    try:
        parts = urlsplit(url.strip()) if len(url) <= MAX_URL_CHARACTERS else urlsplit("")
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        raise Space.DoesNotExist from None
    if parts.scheme not in ("http", "https"):
        raise Space.DoesNotExist
    if host == (urlsplit(settings.PORTICO_URL).hostname or ""):
        match unquote(parts.path).split("/"):
            case ["", "spaces", owner, name, *_] if owner and name:
                return get_space(f"{owner}/{name}", stranger)
    subdomain = host.removesuffix(f".{settings.PORTICO_SPACES_DOMAIN}")
    if subdomain == host:
        raise Space.DoesNotExist
    return readable_by(stranger).get(subdomain=subdomain)


def pixels(text: str | None) -> int | None:
    """A consumer's `maxwidth` or `maxheight`; None where it gives none that makes sense."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 6:
        return None
    return min(max(int(text), MIN_PIXELS), MAX_PIXELS)


def describe(space: Space, max_width: int | None, max_height: int | None) -> dict[str, Any]:
    """The answer (section 2.3.4): a frame as `rich`, or a `link` where its owner lets nobody frame it."""
    said: dict[str, Any] = {
        "version": "1.0",
        "type": "rich" if is_embeddable(space) else "link",
        "title": title_of(space),
        "author_name": space.owner.name,
        "author_url": f"{settings.PORTICO_URL}/{space.owner.name}",
        "provider_name": "Portico",
        "provider_url": settings.PORTICO_URL,
        "cache_age": CACHE_SECONDS,
    }
    thumbnail = (previews.WIDTH, previews.HEIGHT)
    if thumbnail[0] <= (max_width or MAX_PIXELS) and thumbnail[1] <= (max_height or MAX_PIXELS):
        said |= {
            "thumbnail_url": preview_url(space), "thumbnail_width": thumbnail[0], "thumbnail_height": thumbnail[1],
        }  # fmt: skip
    if is_embeddable(space):
        width, height = min(FRAME_WIDTH, max_width or FRAME_WIDTH), min(FRAME_PIXELS, max_height or FRAME_PIXELS)
        html = frame(space, width=str(width), height=height, style="border:0;max-width:100%")
        said |= {"html": html, "width": width, "height": height}
    return said


def as_xml(said: dict[str, Any]) -> bytes:
    """The same as XML (section 2.3.4.2)."""
    root = ElementTree.Element("oembed")
    for name, value in said.items():
        ElementTree.SubElement(root, name).text = _xml_text(str(value))
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _xml_text(text: str) -> str:
    """Without what XML 1.0 has no place for (section 2.2)."""
    return "".join(
        c for c in text if c in "\t\n\r" or 0x20 <= ord(c) < 0xD800 or 0xE000 <= ord(c) < 0xFFFE or ord(c) > 0xFFFF
    )


def preview_url(space: Space) -> str:
    return f"{settings.PORTICO_URL}/embed/spaces/{space.slug}/preview.png"


def discovery(space: Space, kind: str) -> str:
    """The address that a page of the Space names for consumers (section 4)."""
    page = f"{settings.PORTICO_URL}{space.get_absolute_url()}"
    return f"{settings.PORTICO_URL}/oembed?{urlencode({'url': page, 'format': kind})}"
