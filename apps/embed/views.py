"""What pages on other sites ask the portal for. No cookie is read or set here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.views.decorators.http import require_safe

from apps.builds import bundles
from apps.embed import calls, native, previews
from apps.embed import oembed as oembed_answers
from apps.embed.asyncapi import document as asyncapi_document
from apps.embed.endpoints import endpoints
from apps.embed.script import Script, best_encoding, script, version
from apps.embed.selectors import describe, description_of, title_of
from apps.gateway.snapshots import described
from apps.spaces.links import find_link, read_signed
from apps.spaces.models import Space
from apps.spaces.selectors import get_space
from apps.spaces.views.access import context, users

SCRIPT_CACHE = "public, max-age=300, stale-while-revalidate=86400"
FOR_EVER = "public, max-age=31536000, immutable"
NATIVE_RETRY_SECONDS = 5
DESCRIPTION_CACHE = "public, max-age=1"
PICTURE_CACHE = "public, max-age=3600"
"""Enough for many elements of one page; a takedown or a new visibility shows on other sites within two seconds."""

BADGE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="124" height="24" role="img" aria-label="Open in Portico">'
    '<rect width="124" height="24" rx="5" fill="#a1441d"/>'
    '<path d="M8 17V10a4 4 0 0 1 8 0v7" fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round"/>'
    '<text x="24" y="16" fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">Open in Portico</text>'
    "</svg>"
)


def _for_any_site(response: HttpResponse, cache: str) -> HttpResponse:
    response["Access-Control-Allow-Origin"] = "*"
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    response["Cache-Control"] = cache
    return response


@require_safe
def gradio_js(request: HttpRequest) -> HttpResponse:
    """The script of the <gradio-app> element, as it is now."""
    return _script(request, script(), SCRIPT_CACHE)


@require_safe
def gradio_js_version(request: HttpRequest, digest: str) -> HttpResponse:
    """The script of the <gradio-app> element as it was, or is, in one version, which never changes."""
    found = version(digest)
    if found is None:
        return _error("This portal never had this version of the script.", 404)
    return _script(request, found, FOR_EVER)


def _script(request: HttpRequest, current: Script, cache: str) -> HttpResponse:
    encoding = best_encoding(request.headers.get("Accept-Encoding", ""))
    etag = current.etag(encoding)
    response = HttpResponse(current.bodies[encoding], content_type="text/javascript; charset=utf-8")
    if encoding != "identity":
        response["Content-Encoding"] = encoding
    response["ETag"] = etag
    response["Vary"] = "Accept-Encoding"
    answer = get_conditional_response(request, etag=etag, response=response) or response
    answer["Vary"] = "Accept-Encoding"
    return _for_any_site(answer, cache)


@require_safe
async def native_file(request: HttpRequest, version: str, path: str) -> HttpResponse:
    """A file of Gradio's own page: 404 where no Space of this portal has that version or it has no such file, 503 while
    its package is being fetched. See `apps.embed.native`."""
    if not bundles.is_there(version):
        if not await sync_to_async(native.is_coming)(version):
            return _error("No Space of this portal has this version of Gradio, or it has no page for others.", 404)
        later = _error(f"Gradio {version} is being fetched. Ask again in {NATIVE_RETRY_SECONDS} seconds.", 503)
        later["Retry-After"] = str(NATIVE_RETRY_SECONDS)
        return later
    accepted, known = (request.headers.get(name, "") for name in ("Accept-Encoding", "If-None-Match"))
    found = await native.find(version, path, accepted=accepted, known=known)
    if found is None:
        return _error(f"Gradio {version} has no such file.", 404)
    answer = HttpResponse(found.body or b"", status=304 if found.body is None else 200, content_type=found.content_type)
    if found.coding and found.body is not None:
        answer["Content-Encoding"] = found.coding
    answer["ETag"] = found.etag
    answer["Vary"] = "Accept-Encoding"
    answer["Content-Security-Policy"] = native.POLICY
    return _for_any_site(answer, FOR_EVER)


@require_safe
def native_style(request: HttpRequest, name: str) -> HttpResponse:
    """Gradio's first style sheet, which its script asks for at the root of the origin that it came from."""
    version = native.version_with(name)
    if not version:
        return _error("No version of Gradio that is here has this style sheet.", 404)
    return _for_any_site(HttpResponseRedirect(f"/embed/{version}/assets/{name}"), FOR_EVER)


@require_safe
def space_description(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Where a Space lives and how it is, as JSON: 404 for one that strangers may not know of, 410 for one that
    moderators withhold, 403 for a `token` that was a link's and has ended. With one that works, a private Space is
    told, and the demo's address carries it: whoever reads it could open the link as well."""
    link, token = None, request.GET.get("token", "")
    if token and (pk := read_signed(token)):
        link = find_link(pk)
        if link is None:
            return _error("This token has expired, or was revoked.", 403)
    if link and link.space.slug.lower() == f"{owner}/{name}".lower():
        space = link.space
    else:
        link = None
        try:
            space = get_space(f"{owner}/{name}", AnonymousUser())
        except Space.DoesNotExist:
            return _error("There is no such public Space.", 404)
    if space.is_withheld:
        return _error("This Space was withdrawn by the moderators.", 410)
    answer = JsonResponse(describe(space, origin=request.headers.get("Origin", ""), link=link))
    patch_vary_headers(answer, ["Origin"])
    return _for_any_site(answer, "no-store" if link else DESCRIPTION_CACHE)


@require_safe
def oembed(request: HttpRequest) -> HttpResponse:
    """Tell a consumer how to show the Space of `url`: 404 where there is no public one, 410 where moderators withhold
    it, 501 for a `format` that is neither `json` nor `xml` (oEmbed 1.0, section 2.3.5)."""
    kind = request.GET.get("format", "json")
    if kind not in oembed_answers.FORMATS:
        return _error("There are json and xml.", 501)
    if "url" not in request.GET:
        return _error("Name the Space's address as url.", 400)
    try:
        space = oembed_answers.find(request.GET["url"])
    except Space.DoesNotExist:
        return _error("No public Space of this portal has this address.", 404)
    if space.is_withheld:
        return _error("This Space was withdrawn by the moderators.", 410)
    limits = [oembed_answers.pixels(request.GET.get(name)) for name in ("maxwidth", "maxheight")]
    said = oembed_answers.describe(space, *limits)
    if kind == "json":
        return _for_any_site(JsonResponse(said), PICTURE_CACHE)
    return _for_any_site(
        HttpResponse(oembed_answers.as_xml(said), content_type="text/xml; charset=utf-8"), PICTURE_CACHE
    )


def _error(text: str, status: int) -> HttpResponse:
    return _for_any_site(JsonResponse({"error": text}, status=status), DESCRIPTION_CACHE)


@require_safe
def preview(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """A public Space's picture."""
    try:
        space = get_space(f"{owner}/{name}", AnonymousUser())
    except Space.DoesNotExist:
        return _error("There is no such public Space.", 404)
    if space.is_withheld:
        return _error("This Space was withdrawn by the moderators.", 410)
    picture = previews.preview(title_of(space), space.slug, description_of(space), space.color_from, space.color_to)
    return _for_any_site(HttpResponse(picture, content_type="image/png"), PICTURE_CACHE)


@require_safe
def badge(request: HttpRequest) -> HttpResponse:
    """The picture of the Markdown badge."""
    return _for_any_site(HttpResponse(BADGE, content_type="image/svg+xml"), PICTURE_CACHE)


@users
def api(request: HttpRequest, space: Space) -> HttpResponse:
    """How programs call a Gradio Space, readable while it sleeps."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    known = described(space)
    found = endpoints(known.info) if known.info else []
    config = known.config or {}
    holds = config.get("connect_heartbeat") is True
    shown = [
        {
            "endpoint": endpoint,
            "id": f"endpoint-{number}",
            "python": calls.python(space, endpoint),
            "javascript": calls.javascript(space, endpoint, holds=holds),
            "curl": calls.curl(space, endpoint) if endpoint.has_address else "",
            "websocket": calls.websocket(space, endpoint),
        }
        for number, endpoint in enumerate(found, 1)
    ]
    more = {
        "known": known,
        "shown": shown,
        "needs_token": calls.needs_token(space),
        "socket": calls.socket_address(space),
        "address": calls.address(space),
        "mcp": f"{calls.address(space)}gradio_api/mcp/" if config.get("mcp_server") is True else "",
        "openapi": f"{settings.PORTICO_URL}{space.get_absolute_url()}/openapi.json",
        "asyncapi": f"{settings.PORTICO_URL}{space.get_absolute_url()}/asyncapi.json",
    }
    return render(request, "embed/api.html", context(request, space, "api", **more))


@users
def openapi(request: HttpRequest, space: Space) -> HttpResponse:
    """The OpenAPI 3.1 document of a Gradio Space; 404 before its API is known."""
    return _document(request, space, calls.openapi)


@users
def asyncapi(request: HttpRequest, space: Space) -> HttpResponse:
    """The AsyncAPI 3.0 document of its runs over a websocket; 404 before its API is known."""
    return _document(request, space, asyncapi_document)


def _document(request: HttpRequest, space: Space, written: Callable[..., dict[str, Any]]) -> HttpResponse:
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    known = described(space)
    if known.info is None:
        reason = f": {known.refusal}" if known.refusal else ". It is once the Space has started"
        return JsonResponse({"error": f"This Space's API is not known{reason}."}, status=404)
    document = JsonResponse(written(space, endpoints(known.info), space.head or "0"))
    return document if calls.needs_token(space) else _for_any_site(document, DESCRIPTION_CACHE)
