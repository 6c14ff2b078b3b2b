"""From the portal to a Space's own host, with the right to be there."""

from __future__ import annotations

from typing import cast

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.accounts.models import User
from apps.gateway.access import frame_url
from apps.spaces.domains import is_served
from apps.spaces.selectors import readable_by
from apps.spaces.views.access import find


@require_safe
@never_cache
@login_required
def open_space(request: HttpRequest, owner: str, name: str) -> HttpResponseRedirect:
    """Send the signed-in visitor to the Space's own host; to a private one with a one-time code."""
    return HttpResponseRedirect(frame_url(find(request, owner, name), cast(User, request.user)))


@require_safe
@never_cache
@login_required
def open_subdomain(request: HttpRequest, subdomain: str) -> HttpResponseRedirect:
    """The same for whoever came to the host first: its 404 page links here."""
    user = cast(User, request.user)
    space = get_object_or_404(readable_by(user), subdomain=subdomain)
    return HttpResponseRedirect(frame_url(space, user))


@require_safe
@never_cache
def ask(request: HttpRequest) -> HttpResponse:
    """For the `ask` of Caddy's on-demand TLS: 200 for a `domain` that it may get a certificate for, else 404."""
    name = request.GET.get("domain", "").lower().rstrip(".")
    return HttpResponse(status=200 if 0 < len(name) <= 253 and is_served(name) else 404)
