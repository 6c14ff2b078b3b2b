"""The report form, and the moderators' rooms, which nobody else is told exist."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from apps.accounts.addresses import client_address
from apps.accounts.attempts import count
from apps.accounts.models import User
from apps.moderation import selectors, services
from apps.moderation.forms import ReasonForm, ReportForm
from apps.moderation.models import Report
from apps.spaces.views.access import find

REPORTS_PER_HOUR = 10
PER_PAGE = 50


def _within_limit(request: HttpRequest) -> bool:
    return count(f"reports:{request.user.pk or client_address(request)}", 3600) <= REPORTS_PER_HOUR


def report(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    user = cast(User, request.user)
    space = find(request, owner, name)
    form, status = ReportForm(request.POST or None), 200
    if request.method == "POST" and form.is_valid():
        if not _within_limit(request):
            form.add_error(None, "You have sent many reports in the last hour. Please try again later.")
            status = 429
        else:
            if not form.cleaned_data["website"]:
                services.report_space(
                    space,
                    reporter=user if user.is_authenticated else None,
                    category=form.cleaned_data["category"],
                    text=form.cleaned_data["text"],
                )
            return render(request, "moderation/reported.html", {"space": space})
    return render(request, "moderation/report.html", {"form": form, "space": space}, status=status)


def moderators_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Answer 404 to everybody else."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated or not request.user.can_moderate:
            raise Http404
        return view(request, *args, **kwargs)

    return never_cache(guarded)


def _queue(request: HttpRequest) -> dict[str, Any]:
    handled = request.GET.get("show") == "handled"
    pages = Paginator(selectors.reports(handled=handled), PER_PAGE)
    return {"handled": handled, "reports": pages.get_page(request.GET.get("page"))}


@moderators_only
def dashboard(request: HttpRequest) -> HttpResponse:
    return render(request, "moderation/dashboard.html", _queue(request))


@moderators_only
def queue(request: HttpRequest) -> HttpResponse:
    """The list alone, for the live page."""
    return render(request, "moderation/queue.html", _queue(request))


@moderators_only
def look(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Report.objects.select_related("space__owner", "reporter", "handled_by"), pk=pk)
    namespace = selectors.namespace_of(found)
    context = {
        "report": found,
        "namespace": namespace,
        "acts": selectors.possible_acts(found, cast(User, request.user)),
        "history": selectors.audit_log(found.space_slug)[:20],
        "others": Report.objects.filter(space_slug=found.space_slug).exclude(pk=pk).order_by("-created_at")[:20],
    }
    return render(request, "moderation/look.html", context)


@moderators_only
def act(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """Ask for the reason, which is also the confirmation; then act."""
    found = get_object_or_404(Report.objects.select_related("space__owner"), pk=pk)
    moderator = cast(User, request.user)
    label = dict(selectors.possible_acts(found, moderator)).get(verb)
    if label is None:
        messages.error(request, "That cannot be done, or was done already.")
        return redirect("moderation:look", pk)
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            services.act(found, verb, moderator=moderator, reason=form.cleaned_data["reason"])
        except services.ActRefused as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, f"Done: {label} ({found.space_slug}).")
            return redirect("moderation:look", pk)
    return render(request, "moderation/act.html", {"form": form, "report": found, "verb": verb, "label": label})


@moderators_only
def log(request: HttpRequest) -> HttpResponse:
    target = request.GET.get("target", "")[:150]
    pages = Paginator(selectors.audit_log(target), PER_PAGE)
    return render(
        request, "moderation/log.html", {"target": target, "entries": pages.get_page(request.GET.get("page"))}
    )
