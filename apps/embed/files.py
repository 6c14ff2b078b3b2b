"""Files to and from a closed Space for a page of the portal, where somebody is known by the portal's own session.

Open Spaces take and give files under `/run/`, which knows no cookie.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import quote

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.accounts.models import User
from apps.embed.inside import Asked, Caller, multipart
from apps.embed.runs import API
from apps.gateway import access, pages
from apps.gateway.asgi import current
from apps.spaces.models import Space
from apps.spaces.views.access import person, users

PIECE_BYTES = 64 * 1024
MAX_NAME = 255
MAX_PATH = 2_000


async def upload(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Pass the request's body on to the Space's app as the file `?name=`; answers what the app does: a list with its
    path. 404 where there is no such Space for this person."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    user = await request.auser()
    known = isinstance(user, User)
    route = await current().routes.find(("slug", f"{owner}/{name}".lower())) if known else None
    if route is None or not isinstance(user, User):
        return HttpResponse(pages.not_found(None).as_json(), status=404, content_type="application/json")
    length = int(request.META.get("CONTENT_LENGTH") or 0)
    called = request.GET.get("name", "")[:MAX_NAME] or "file"
    kind, size, body = multipart(called, _pieces(request), length)
    given = access.for_user(route.space_id, user)
    agent = request.headers.get("User-Agent", "").encode("latin-1", "replace")
    caller = Caller(route, request.META.get("REMOTE_ADDR", ""), user.pk, agent, given=given)
    async with Asked(caller, "POST", f"{API}/upload", body=body, length=size, kind=kind) as asked:
        try:
            said = json.loads(await asked.whole())
        except ValueError:
            said = {"error": "bad_gateway", "message": pages.bad_gateway().message}
        return JsonResponse(said, status=asked.status or 502, safe=False)


async def _pieces(request: HttpRequest) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(request.read, PIECE_BYTES):
        yield piece


@require_safe
@never_cache
@login_required
@users
def file(request: HttpRequest, space: Space) -> HttpResponse:
    """Lead to a file that the app has answered with, `?path=`, on the Space's own host."""
    path = request.GET.get("path", "")[:MAX_PATH]
    return HttpResponseRedirect(access.frame_url(space, person(request), f"{API}/file={quote(path)}"))
