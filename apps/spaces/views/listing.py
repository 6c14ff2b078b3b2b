"""Pages that list Spaces."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.accounts.models import Namespace, User
from apps.spaces.models import Space
from apps.spaces.selectors import listed, readable_by, shared_with

PER_PAGE = 24
SHARED = 100
SEARCH_CHARACTERS = 100


def _page(request: HttpRequest, spaces: QuerySet[Space]) -> dict[str, Any]:
    """One page of Spaces, newest change first, and the cursor of the next: pages do not shift while Spaces change."""
    at, _, pk = request.GET.get("after", "").rpartition(",")
    try:
        last = datetime.fromisoformat(at).astimezone(UTC)
        spaces = spaces.filter(Q(updated_at__lt=last) | Q(updated_at=last, pk__lt=int(pk[:18])))
        first = False
    except (ValueError, TypeError, OverflowError):
        first = True
    found = list(spaces.order_by("-updated_at", "-pk")[: PER_PAGE + 1])
    shown = found[:PER_PAGE]
    more = f"{shown[-1].updated_at.isoformat()},{shown[-1].pk}" if len(found) > PER_PAGE else ""
    return {"spaces": shown, "first": first, "after": more}


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    return render(request, "spaces/home.html", {"spaces": listed()[:12]})


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Every listed Space; `q` searches names, owners, titles and descriptions."""
    q = request.GET.get("q", "").strip()[:SEARCH_CHARACTERS]
    spaces = listed()
    for word in q.split():
        spaces = spaces.filter(
            Q(name__icontains=word)
            | Q(owner__name__icontains=word)
            | Q(title__icontains=word)
            | Q(short_description__icontains=word)
        )
    return render(request, "spaces/index.html", {**_page(request, spaces), "q": q})


@require_safe
def profile(request: HttpRequest, namespace: str) -> HttpResponse:
    """A person's Spaces: the public ones, and all of them for whoever may see them. On one's own page also the first
    of those that others share."""
    owner = Namespace.objects.filter(name__iexact=namespace).first()
    if owner is None:
        raise Http404
    spaces = readable_by(request.user).filter(owner=owner)
    if request.user.is_anonymous or request.user.namespace_id != owner.pk:
        spaces = spaces.filter(taken_down_at=None, owner__suspended_at=None)
    is_own = isinstance(request.user, User) and request.user.namespace_id == owner.pk
    shared = shared_with(request.user)[:SHARED] if isinstance(request.user, User) and is_own else []
    return render(request, "spaces/profile.html", {**_page(request, spaces), "owner": owner, "shared": shared})
