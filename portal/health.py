"""`/healthz`, `/readyz` and `/metrics`: for whoever watches the portal."""

from __future__ import annotations

from ipaddress import ip_address

import prometheus_client
from django.conf import settings
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe

from apps.gateway.metrics import GatewayCollector
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


prometheus_client.REGISTRY.register(GatewayCollector())


def may_read_metrics(request: HttpRequest) -> bool:
    """Figures name Spaces, private ones too. With `PORTICO_METRICS_TOKEN` set, whoever sends it may read them; without
    it this machine alone. What a proxy passes on is not from this machine, whatever its own address is."""
    if token := settings.PORTICO_METRICS_TOKEN:
        sent = request.headers.get("Authorization", "").encode()
        return constant_time_compare(sent, f"Bearer {token}".encode())
    if any(name in request.headers for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via")):
        return False
    try:
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format, for those who `may_read_metrics`."""
    if not may_read_metrics(request):
        text = "Not from here. Send PORTICO_METRICS_TOKEN as a bearer token, or ask from the machine itself.\n"
        return HttpResponse(text, status=403, content_type="text/plain")
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
