"""The Hub's API, as far as a client needs it to find a Space and run it.

Errors carry `X-Error-Code` and `X-Error-Message`, by which huggingface_hub chooses what to raise.
"""

from __future__ import annotations

import re

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.accounts.models import AccessToken, User
from apps.accounts.tokens import find_token
from apps.hub import wire
from apps.repos import store
from apps.spaces.models import Space
from apps.spaces.selectors import get_space

BEARER = re.compile(r"Bearer\s+(\S{1,200})", re.IGNORECASE)


class Unauthorised(Exception):
    """A token was sent and is nobody's."""


def token_of(request: HttpRequest) -> AccessToken | None:
    """The access token of the request, None when it carries none.

    Raises:
        Unauthorised: it carries one that is not valid.
    """
    found = BEARER.fullmatch(request.headers.get("Authorization", "").strip())
    if found is None:
        return None
    token = find_token(found[1])
    if token is None:
        raise Unauthorised
    return token


def refusal(status: int, message: str, code: str | None = None) -> HttpResponse:
    answer = JsonResponse({"error": message}, status=status, headers={"X-Error-Message": message})
    if code:
        answer["X-Error-Code"] = code
    return answer


def bad_token() -> HttpResponse:
    return refusal(401, "Invalid credentials in Authorization header")


@require_safe
@never_cache
def whoami(request: HttpRequest) -> HttpResponse:
    """Who the token belongs to."""
    try:
        token = token_of(request)
    except Unauthorised:
        return bad_token()
    if token is None:
        return refusal(401, "A token is needed here.")
    return JsonResponse(wire.whoami(token.user, token))


@require_safe
@never_cache
def space_info(request: HttpRequest, owner: str, name: str, revision: str | None = None) -> HttpResponse:
    """`HfApi.space_info`: at the tip of main, or at a branch or commit. `?blobs=1` adds sizes."""
    found = _find(request, owner, name)
    if isinstance(found, HttpResponse):
        return found
    space, user = found
    with_sizes = request.GET.get("blobs", "").lower() in {"1", "true"}
    try:
        info = wire.space_info(space, revision, user, with_sizes=with_sizes)
    except store.NotFound:
        return refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return JsonResponse(info)


@require_safe
@never_cache
def space_runtime(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """`HfApi.get_space_runtime`."""
    found = _find(request, owner, name)
    return found if isinstance(found, HttpResponse) else JsonResponse(wire.runtime(*found))


def _find(request: HttpRequest, owner: str, name: str) -> tuple[Space, User | AnonymousUser] | HttpResponse:
    """The Space and who asks, or the refusal: the same for a private one of somebody else's and for none."""
    user: User | AnonymousUser = request.user
    try:
        if token := token_of(request):
            user = token.user
        space = get_space(f"{owner}/{name}", user)
    except Unauthorised:
        return bad_token()
    except Space.DoesNotExist:
        return refusal(404, "Repository not found", "RepoNotFound")
    if space.is_withheld:
        return refusal(410, "Access to this resource is disabled.")
    return space, user
