"""A Space's own page, and its logs."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.models import User
from apps.spaces.hosts import frame_url
from apps.spaces.logs import Kind, last_lines, read_log
from apps.spaces.models import Notice, Space, Stage
from apps.spaces.runs import run_facts
from apps.spaces.selectors import can_write
from apps.spaces.views.access import context, owner_only, readers

SHOWN = {Stage.RUNNING, Stage.SLEEPING}
"""Stages in which the demo itself is shown; a sleeping one wakes as it is looked at."""
COMING = {Stage.BUILDING, Stage.APP_STARTING}


def app_context(request: HttpRequest, space: Space) -> dict[str, object]:
    stage = Stage(space.stage)
    kind: Kind = "run" if stage == Stage.RUNTIME_ERROR else "build"
    shown = stage in SHOWN
    may_write = can_write(request.user, space)
    # A crash's message holds the log's last lines: not for visitors.
    told = may_write or (isinstance(request.user, User) and request.user.can_moderate)
    return context(
        request,
        space,
        "app",
        shown=shown,
        coming=stage in COMING,
        frame=frame_url(space, request.user) if shown else "",
        message=space.stage_message if told else "",
        tail=last_lines(space.pk, kind) if may_write and stage.value.endswith("ERROR") else "",
    )


@require_safe
@readers
def show(request: HttpRequest, space: Space) -> HttpResponse:
    """The running demo first; while it is not running, what there is to know and to do."""
    return render(request, "spaces/show.html", app_context(request, space))


@require_safe
@readers
def app(request: HttpRequest, space: Space) -> HttpResponse:
    """The demo's part of the page alone, for a page whose stage has changed."""
    return render(request, "spaces/_app.html", app_context(request, space))


@require_safe
@owner_only
def logs(request: HttpRequest, space: Space) -> HttpResponse:
    return render(request, "spaces/logs.html", context(request, space, "logs", run=run_facts(space)))


@require_safe
@owner_only
def download_log(request: HttpRequest, space: Space, kind: str) -> HttpResponse:
    _, data, _ = read_log(space.pk, "build" if kind == "build" else "run")
    response = HttpResponse(data, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{space.subdomain}-{kind}.log"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


@require_POST
def dismiss_notice(request: HttpRequest, pk: int) -> HttpResponse:
    namespace = getattr(request.user, "namespace_id", None)
    notice = get_object_or_404(Notice, pk=pk, namespace=namespace)
    notice.dismissed_at = timezone.now()
    notice.save(update_fields=["dismissed_at"])
    return redirect(notice.space.get_absolute_url() if notice.space else "/")
