"""What pages on other sites ask the portal for. No cookie is read or set here."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe

from apps.embed.script import best_encoding, script
from apps.embed.selectors import describe
from apps.spaces.models import Space
from apps.spaces.selectors import get_space

SCRIPT_CACHE = "public, max-age=300, stale-while-revalidate=86400"
DESCRIPTION_CACHE = "public, max-age=1"
"""Enough for many elements of one page; a takedown or a new visibility shows on other sites within two seconds."""


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
