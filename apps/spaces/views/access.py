"""Which Space an address means, and whether this person may know it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from apps.accounts.models import User
from apps.spaces.models import Space
from apps.spaces.selectors import can_use, can_write, get_space, owns

View = Callable[..., HttpResponseBase]
SpaceView = Callable[Concatenate[HttpRequest, Space, ...], HttpResponseBase]


def person(request: HttpRequest) -> User:
    """The signed-in person. For views behind `login_required` or `owner_only`."""
    assert isinstance(request.user, User)
    return request.user


def find(request: HttpRequest, owner: str, name: str) -> Space:
    """The Space, or a 404 that is the same whether it is hidden or was never there."""
    try:
        return get_space(f"{owner}/{name}", request.user)
    except Space.DoesNotExist:
        raise Http404 from None


def tombstone(request: HttpRequest, space: Space) -> HttpResponse:
    """What a withheld Space shows; its owner and moderators are told why."""
    told = owns(request.user, space) or (isinstance(request.user, User) and request.user.can_moderate)
    return render(request, "spaces/tombstone.html", {"space": space, "told": told}, status=410)


def readers(view: SpaceView) -> View:
    """For those who may see the Space: the view gets it in place of owner and name."""

    @wraps(view)
    def wrapped(request: HttpRequest, owner: str, name: str, **rest: Any) -> HttpResponseBase:
        space = find(request, owner, name)
        moderates = isinstance(request.user, User) and request.user.can_moderate
        if space.is_withheld and not moderates:
            return tombstone(request, space)
        return view(request, space, **rest)

    return wrapped


def users(view: SpaceView) -> View:
    """For those who get the Space's files: `readers`, but nobody who would be asked for a password."""

    @readers
    @wraps(view)
    def wrapped(request: HttpRequest, space: Space, **rest: Any) -> HttpResponseBase:
        if can_use(request.user, space):
            return view(request, space, **rest)
        return render(request, "spaces/locked.html", context(request, space, "files"), status=403)

    return wrapped


def owner_only(view: SpaceView) -> View:
    """For those who may change the Space: strangers sign in first, other people are refused."""

    @wraps(view)
    def wrapped(request: HttpRequest, owner: str, name: str, **rest: Any) -> HttpResponseBase:
        space = find(request, owner, name)
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        if not owns(request.user, space):
            raise PermissionDenied
        if space.is_withheld:
            return tombstone(request, space)
        return view(request, space, **rest)

    return wrapped


def context(request: HttpRequest, space: Space, tab: str, **more: Any) -> dict[str, Any]:
    """What every page of a Space shows around its own part."""
    return {"space": space, "tab": tab, "may_write": can_write(request.user, space), **more}
