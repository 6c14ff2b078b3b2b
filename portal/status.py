"""What holds on this machine and of this portal: for `portico status`, `/readyz` and the admin's health page."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import Any

from celery.exceptions import OperationalError
from django.conf import settings
from django.db import connection
from django.db.utils import Error as DatabaseError

FREE_BYTES_NEEDED = 512 * 1024**2


def check(name: str, ok: bool, detail: str, *, needed: bool = True) -> dict[str, Any]:
    return {"name": name, "ok": ok, "detail": detail, "needed": needed}


def service_checks() -> list[dict[str, Any]]:
    """Database, broker, agent and disk: what `/readyz` asks for."""
    return [_database(), _broker(), _agent(), _disk()]


def status_report() -> dict[str, Any]:
    """Services and what the sandbox can do here. `ok` is False when something needed is missing."""
    from apps.sandbox.report import machine_report

    checks = [*service_checks(), *machine_report(), _domains()]
    return {"ok": all(c["ok"] for c in checks if c["needed"]), "checks": checks}


def _database() -> dict[str, Any]:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
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
    from apps.runtime import client

    try:
        answer = asyncio.run(asyncio.wait_for(client.agent_status(), 2))
    except (client.AgentUnavailable, TimeoutError) as error:
        return check("agent", False, f"does not answer: {error}")
    return check("agent", True, f"node {answer.get('node')}, {len(answer.get('workers', []))} workers")


def _disk() -> dict[str, Any]:
    free = shutil.disk_usage(settings.PORTICO_DATA).free
    writable = os.access(settings.PORTICO_DATA, os.W_OK)
    return check("disk", writable and free > FREE_BYTES_NEEDED, f"{free / 1024**3:.1f} GiB free on the data folder")


def _domains() -> dict[str, Any]:
    portal, spaces = settings.PORTICO_PORTAL_HOST, settings.PORTICO_SPACES_DOMAIN
    siblings = portal == spaces or spaces.endswith(f".{portal}") or portal.endswith(f".{spaces}")
    if siblings and not spaces.endswith("localhost"):
        advice = "give the Spaces another registrable domain, so that no demo can set the portal's cookies"
        return check("separate domains", False, f"portal {portal}, Spaces {spaces}: {advice}", needed=False)
    return check("separate domains", True, f"portal {portal}, Spaces {spaces}", needed=False)
