"""What pages on other sites ask the portal for. No cookie is read or set here."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe

from apps.builds import bundles
from apps.embed import calls, native, previews
from apps.embed import oembed as oembed_answers
from apps.embed.endpoints import endpoints
from apps.embed.script import best_encoding, script
from apps.embed.selectors import describe, description_of, title_of
from apps.gateway.snapshots import described
from apps.spaces.models import Space
from apps.spaces.selectors import get_space
from apps.spaces.views.access import context, users

SCRIPT_CACHE = "public, max-age=300, stale-while-revalidate=86400"
NATIVE_CACHE = "public, max-age=31536000, immutable"
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
    """The script of the <gradio-app> element."""
    current = script()
    encoding = best_encoding(request.headers.get("Accept-Encoding", ""))
    etag = current.etag(encoding)
    response = HttpResponse(current.bodies[encoding], content_type="text/javascript; charset=utf-8")
    if encoding != "identity":
        response["Content-Encoding"] = encoding
    response["ETag"] = etag
    response["Vary"] = "Accept-Encoding"
    answer = get_conditional_response(request, etag=etag, response=response) or response
    answer["Vary"] = "Accept-Encoding"
    return _for_any_site(answer, SCRIPT_CACHE)


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
    return _for_any_site(answer, NATIVE_CACHE)


@require_safe
def native_style(request: HttpRequest, name: str) -> HttpResponse:
    """Gradio's first style sheet, which its script asks for at the root of the origin that it came from."""
    version = native.version_with(name)
    if not version:
        return _error("No version of Gradio that is here has this style sheet.", 404)
    return _for_any_site(HttpResponseRedirect(f"/embed/{version}/assets/{name}"), NATIVE_CACHE)


@require_safe
def space_description(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Where a public Space lives and how it is, as JSON: 404 for one that strangers may not know of, 410 for one
    that moderators withhold."""
    try:
        space = get_space(f"{owner}/{name}", AnonymousUser())
    except Space.DoesNotExist:
        return _for_any_site(JsonResponse({"error": "There is no such public Space."}, status=404), DESCRIPTION_CACHE)
    if space.is_withheld:
        error = {"error": "This Space was withdrawn by the moderators."}
        return _for_any_site(JsonResponse(error, status=410), DESCRIPTION_CACHE)
    return _for_any_site(JsonResponse(describe(space)), DESCRIPTION_CACHE)


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
    shown = [
        {
            "endpoint": endpoint,
            "id": f"endpoint-{number}",
            "python": calls.python(space, endpoint),
            "javascript": calls.javascript(space, endpoint),
            "curl": calls.curl(space, endpoint) if endpoint.has_address else "",
        }
        for number, endpoint in enumerate(found, 1)
    ]
    more = {
        "known": known,
        "shown": shown,
        "needs_token": calls.needs_token(space),
        "address": calls.address(space),
        "mcp": f"{calls.address(space)}gradio_api/mcp/"
        if known.config and known.config.get("mcp_server") is True
        else "",
        "openapi": f"{settings.PORTICO_URL}{space.get_absolute_url()}/openapi.json",
    }
    return render(request, "embed/api.html", context(request, space, "api", **more))


@users
def openapi(request: HttpRequest, space: Space) -> HttpResponse:
    """The OpenAPI 3.1 document of a Gradio Space; 404 before its API is known."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    known = described(space)
    if known.info is None:
        reason = f": {known.refusal}" if known.refusal else ". It is once the Space has started"
        return JsonResponse({"error": f"This Space's API is not known{reason}."}, status=404)
    document = JsonResponse(calls.openapi(space, endpoints(known.info), space.head or "0"))
    return document if calls.needs_token(space) else _for_any_site(document, DESCRIPTION_CACHE)
