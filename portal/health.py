"""`/healthz`, `/readyz` and `/metrics`: for whoever watches the portal."""

from __future__ import annotations

import prometheus_client
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_safe

from apps.runtime.models import Worker
from apps.spaces.models import Space, Stage
from portal.remedies import remedy
from portal.status import service_checks

SPACES = prometheus_client.Gauge("portico_spaces", "Spaces by stage.", ["stage"])
WORKERS = prometheus_client.Gauge("portico_workers", "Workers that have not ended, by state.", ["state"])


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when database, broker, agent and disk are all there, else 503, naming each and saying what to do about those
    that fail. Anybody may ask, so details (addresses, paths) are for the admin's health page."""
    checks = service_checks()
    ready = all(c["ok"] for c in checks)
    return JsonResponse(
        {
            "ready": ready,
            "checks": {c["name"]: "ok" if c["ok"] else "failing" for c in checks},
            **({} if ready else {"reasons": {c["name"]: remedy(c["name"]) for c in checks if not c["ok"]}}),
        },
        status=200 if ready else 503,
    )


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format. Counts only: no name of a person or Space."""
    stages = dict(Space.objects.values_list("stage").annotate(n=Count("pk")))
    for stage in Stage:
        SPACES.labels(stage.value).set(stages.get(stage.value, 0))
    states = dict(Worker.objects.exclude(state=Worker.State.ENDED).values_list("state").annotate(n=Count("pk")))
    for state in Worker.State:
        WORKERS.labels(state.value).set(states.get(state.value, 0))
    return HttpResponse(prometheus_client.generate_latest(), content_type=prometheus_client.CONTENT_TYPE_LATEST)


urlpatterns = [
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
]
