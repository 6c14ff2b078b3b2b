"""What holds on this machine and of this portal: for `portico status`, `/readyz` and the admin's health page."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import Any

from celery.exceptions import OperationalError
from django.conf import settings
from django.db import connection
from django.db.models import Count
from django.db.utils import Error as DatabaseError
from django.utils import timezone

from apps.runtime.models import Node, Worker
from apps.spaces.models import Space
from portal.remedies import remedy

FREE_BYTES_NEEDED = 512 * 1024**2
AWAY_SECONDS = 60
"""Agents give a sign of life every ten seconds."""
SHOWN_WORKERS = 50
NEEDED = {"bwrap", "git", "sandbox", "interpreters"}
"""Without these a node runs nothing."""


def check(name: str, ok: bool, detail: str, *, needed: bool = True) -> dict[str, Any]:
    return {"name": name, "ok": ok, "detail": detail, "needed": needed}


def service_checks() -> list[dict[str, Any]]:
    """Database, broker, agent and disk: what `/readyz` asks for."""
    return [_database(), _broker(), _agent(), _disk()]


def status_report() -> dict[str, Any]:
    """Services and what the sandbox can do here. `ok` is False when something needed is missing."""
    from apps.sandbox.report import machine_report

    checks = [
        _with_remedy(c)
        for c in (*service_checks(), *machine_report(egress=settings.PORTICO_EGRESS == "world"), _domains())
    ]
    try:
        nodes = node_report()
    except DatabaseError:  # said among the checks; what the machine can do is told all the same
        nodes = []
    return {"ok": all(c["ok"] for c in checks if c["needed"]), "checks": checks, "nodes": nodes}


def health_report() -> dict[str, Any]:
    """For the admin's page: services as they are seen from here, nodes as their agents found them."""
    return {"services": [_with_remedy(c) for c in (*service_checks(), _domains())], "nodes": node_report()}


def node_report() -> list[dict[str, Any]]:
    """Every node: when it was last seen, what holds there, how much it runs. Of the node whose agent answers here, also
    `memory`, and its workers and zygotes one by one."""
    answer = _agent_answer()
    here = answer if isinstance(answer, dict) else {}
    running = Worker.objects.exclude(state=Worker.State.ENDED).values_list("node").annotate(n=Count("pk"))
    workers: dict[str, int] = dict(running)
    return [
        {
            "name": node.name,
            "seen_at": node.seen_at,
            "is_away": (timezone.now() - node.seen_at).total_seconds() > AWAY_SECONDS,
            "workers": workers.get(node.name, 0),
            "checks": [
                _with_remedy({"name": name, "needed": name in NEEDED, **found})
                for name, found in node.capabilities.items()
            ],
            "live": {**here, "workers": _largest(here["workers"])} if here.get("node") == node.name else None,
        }
        for node in Node.objects.order_by("name")
    ]


def _largest(workers: list[dict[str, Any]]) -> dict[str, Any]:
    """The workers that use most memory, with their Spaces' names, and what all of them use together."""
    memory = [w["memory_bytes"] for w in workers if w["memory_bytes"] is not None]
    most = sorted(workers, key=lambda w: w["memory_bytes"] or 0, reverse=True)[:SHOWN_WORKERS]
    spaces = Space.objects.select_related("owner").in_bulk([w["space"] for w in most])
    shown = [{**w, "space": spaces[w["space"]]} for w in most if w["space"] in spaces]
    return {"count": len(workers), "memory_bytes": sum(memory), "shown": shown}


def _with_remedy(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "remedy": "" if found["ok"] else remedy(found["name"])}


def _database() -> dict[str, Any]:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        Node.objects.exists()  # a database without tables is none yet
    except DatabaseError as error:
        return check("database", False, str(error))
    return check("database", True, connection.vendor)


def _broker() -> dict[str, Any]:
    from portal.celery import app

    try:
        with app.connection_for_write(connect_timeout=2) as broker:
            broker.ensure_connection(max_retries=1, timeout=2)
    except (OperationalError, OSError) as error:
        return check("broker", False, str(error))
    return check("broker", True, settings.CELERY_BROKER_URL.split(":")[0])


def _agent() -> dict[str, Any]:
    answer = _agent_answer()
    if isinstance(answer, str):
        return check("agent", False, f"does not answer: {answer}")
    return check("agent", True, f"node {answer.get('node')}, {len(answer.get('workers', []))} workers")


def _agent_answer() -> dict[str, Any] | str:
    """What this node's agent holds, or why it does not say."""
    from apps.runtime import client

    try:
        return asyncio.run(asyncio.wait_for(client.agent_status(), 2))
    except (client.AgentUnavailable, TimeoutError) as error:
        return str(error) or "no answer in time"


def _disk() -> dict[str, Any]:
    try:
        free = shutil.disk_usage(settings.PORTICO_DATA).free
    except OSError as error:
        return check("disk", False, f"the data folder cannot be read: {error}")
    writable = os.access(settings.PORTICO_DATA, os.W_OK)
    return check("disk", writable and free > FREE_BYTES_NEEDED, f"{free / 1024**3:.1f} GiB free on the data folder")


def _domains() -> dict[str, Any]:
    portal, spaces = settings.PORTICO_PORTAL_HOST, settings.PORTICO_SPACES_DOMAIN
    siblings = portal == spaces or spaces.endswith(f".{portal}") or portal.endswith(f".{spaces}")
    if siblings and not spaces.endswith("localhost"):
        advice = "give the Spaces another registrable domain, so that no demo can set the portal's cookies"
        return check("separate domains", False, f"portal {portal}, Spaces {spaces}: {advice}", needed=False)
    return check("separate domains", True, f"portal {portal}, Spaces {spaces}", needed=False)
