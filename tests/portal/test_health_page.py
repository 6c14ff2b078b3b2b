"""The administrator sees what holds on every node, what does not, and what to do then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User
from apps.runtime import client as agent_client
from apps.runtime.models import Node
from apps.sandbox.report import machine_report
from portal.remedies import REMEDIES
from portal.status import AWAY_SECONDS, node_report, service_checks, status_report
from tests.running_agent import RunningAgent, bare_environment, ensure, sleeping_space
from tests.waiting import wait_until

CAPABILITIES = {
    "sandbox": {"ok": True, "detail": "user, mount, pid namespaces"},
    "storage": {"ok": False, "detail": "there are no loop devices"},
    "git": {"ok": False, "detail": "missing; <b>install</b> it"},
}


@pytest.fixture
def staff(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_user("op", "op@example.org", "a-good-long-password", is_staff=True))
    return client


def test_it_is_for_staff(client: Client, ada: User) -> None:
    assert client.get("/admin/health/").status_code == 302
    client.force_login(ada)
    assert client.get("/admin/health/", follow=True).status_code == 403


def test_each_node_says_what_holds_and_what_to_do(staff: Client) -> None:
    Node.objects.create(name="one", capabilities=CAPABILITIES)
    Node.objects.create(name="two", seen_at=timezone.now() - timedelta(seconds=AWAY_SECONDS + 60))
    page = staff.get("/admin/health/").content.decode()
    assert "user, mount, pid namespaces" in page and "there are no loop devices" in page
    assert REMEDIES["storage"] in page and REMEDIES["sandbox"] not in page
    assert "missing; &lt;b&gt;install&lt;/b&gt; it" in page
    assert page.count("Away") == 1
    assert "Its agent gives no sign of life." in page
    one, two = node_report()
    assert (one["is_away"], two["is_away"]) == (False, True)
    needed = {check["name"]: check["needed"] for check in one["checks"]}
    assert needed == {"sandbox": True, "storage": False, "git": True}


def test_services_are_among_it_and_a_missing_agent_is_told(staff: Client) -> None:
    page = staff.get("/admin/health/").content.decode()
    for name in ("Database", "Broker", "Agent", "Disk", "Separate domains"):
        assert f">{name}</strong>" in page
    assert "does not answer" in page and "portico agent" in page
    assert "No agent has reported yet." in page
    assert 'href="/admin/health/"' in staff.get("/admin/").content.decode()


def test_every_check_has_its_remedy(db: None) -> None:
    names = {check["name"] for check in (*service_checks(), *machine_report(egress=True), *status_report()["checks"])}
    assert names - set(REMEDIES) == set()
    assert {"sandbox", "limits", "egress", "landlock", "seccomp", "interpreters", "storage", "database"} <= names


def test_status_prints_the_same_with_what_to_do(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    Node.objects.create(
        name="two", capabilities=CAPABILITIES, seen_at=timezone.now() - timedelta(seconds=AWAY_SECONDS + 60)
    )
    with pytest.raises(CommandError):
        call_command("portico", "status")
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("NO  agent") for line in lines)
    assert any(REMEDIES["agent"] in line for line in lines)
    assert any(line.startswith("node two: away, last seen") for line in lines)
    assert any(line.strip().startswith("NO  git") for line in lines)
    with pytest.raises(CommandError):
        call_command("portico", "status", "--json")
    assert '"name": "two"' in capsys.readouterr().out


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_this_node_s_workers_zygotes_and_memory_are_shown(
    lent_agent: Callable[..., RunningAgent], client: Client
) -> None:
    lent_agent()
    root = User.objects.create_superuser("root-person", "", "a-good-long-password")
    client.force_login(root)
    space = sleeping_space(environment=bare_environment())
    ensure(space)

    def capabilities() -> dict[str, Any]:
        found: dict[str, Any] = asyncio.run(agent_client.agent_status())["capabilities"]
        return found

    wait_until(capabilities)
    page = client.get("/admin/health/").content.decode()
    assert f">{space.slug}</a>" in page
    assert "memory free" in page and "1 worker," in page
    assert "Zygotes" in page and bare_environment().key[:12] in page
    live = node_report()[0]["live"]
    assert live["memory"]["total_bytes"] > live["memory"]["available_bytes"] > 0
    assert live["workers"]["count"] == 1
