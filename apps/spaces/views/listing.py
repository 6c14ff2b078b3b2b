"""Pages that list Spaces."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.accounts.models import Namespace
from apps.spaces.selectors import listed, readable_by

PER_PAGE = 24
SEARCH_CHARACTERS = 100


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
    page = Paginator(spaces, PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "spaces/index.html", {"page": page, "q": q})


@require_safe
def profile(request: HttpRequest, namespace: str) -> HttpResponse:
    """A person's Spaces: the public ones, and all of them for whoever may see them."""
    owner = Namespace.objects.filter(name__iexact=namespace).first()
    if owner is None:
        raise Http404
    spaces = readable_by(request.user).filter(owner=owner).order_by("-updated_at")
    if request.user.is_anonymous or request.user.namespace_id != owner.pk:
        spaces = spaces.filter(taken_down_at=None, owner__suspended_at=None)
    page = Paginator(spaces, PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "spaces/profile.html", {"owner": owner, "page": page})
