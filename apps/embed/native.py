"""Native rendering: Gradio's own script for other sites' pages, out of the package of the version that a Space has.

`/embed/<version>/gradio.js` defines Gradio's own `<gradio-app>`, which draws a Space in the page itself instead of in a
frame. Nothing of it is shown on the portal's own origin: no page among its files is sent, and a policy holds the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from django.core.cache import cache
from django.db import transaction

from apps.builds import bundles, tasks
from apps.builds.models import Environment
from apps.gateway import assets
from apps.gateway.asgi import current
from apps.gateway.headers import matches
from apps.spaces.models import SDK, Space

PATHS = re.compile(r"gradio\.js|(assets|static)/.+(?<!\.html)", re.DOTALL)
POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
"""For who opens a file, an SVG for instance, as a page of its own. It does not hold scripts of another page."""
STYLE = re.compile(r"index-[\w-]{8}\.css")
ASKED_AGAIN_SECONDS = 60


@dataclass(frozen=True)
class File:
    """A file in the coding that a browser takes best; `body` is None where the browser has it."""

    content_type: str
    coding: str
    etag: str
    body: bytes | None


async def find(version: str, path: str, *, accepted: str, known: str) -> File | None:
    """A file of a version that is there, None for no such file.

    Args:
        version, path: of the address.
        accepted, known: the `Accept-Encoding` and `If-None-Match` of the request.
    """
    if not PATHS.fullmatch(path):
        return None
    source, asked, store = assets.OF_PACKAGE + version, quote(f"/{path}").encode(), current().assets
    asset = await store.find(source, asked)
    if asset is None:
        return None
    coding = assets.coding_of(asset, accepted.encode())
    etag = assets.etag_of(asset, coding)
    body = None if matches(known.encode() or None, etag) else await store.body(asset, coding)
    return File(asset.content_type, coding.decode(), etag.decode(), body)


def version_with(style: str) -> str:
    """A version that is there and has this style sheet, whose name has a digest of its content; empty for none."""
    if not STYLE.fullmatch(style):
        return ""
    found = bundles.folder().glob(f"*/assets/{style}")
    return next((path.parent.parent.name for path in found), "")


def is_coming(version: str) -> bool:
    """Whether a version whose files are not there is one that a Space uses. It is fetched then."""
    if not bundles.is_used(version):
        return False
    if cache.add(f"embed-native-{version}", True, ASKED_AGAIN_SECONDS):
        # A broker that is away is asked again with a later visitor.
        transaction.on_commit(lambda: tasks.fetch_bundle.delay(version), robust=True)
    return True


def version_of(space: Space) -> str:
    """The version whose script can draw the Space in other sites' pages; empty where none can."""
    if space.sdk != SDK.GRADIO or space.asks_password:
        return ""
    of_current = Environment.objects.filter(deployments__space=space, deployments__is_current=True)
    version = of_current.values_list("gradio_version", flat=True).first() or ""
    return version if bundles.is_there(version) else ""
