"""The systemd units start what `portico up` starts."""

from __future__ import annotations

import re
import shlex
import sys

import pytest

from portal.supervisor import AGENT_GRACE_SECONDS, GRACE_SECONDS, celery_argv, children
from tests.running_portal import ROOT

UNITS = ROOT / "deploy" / "systemd"


def unit(name: str) -> dict[str, list[str]]:
    """What is set in it, each as often as it is said."""
    text = re.sub(r"\\\n\s*", "", (UNITS / name).read_text())
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("name", [path.name for path in UNITS.iterdir()])
def test_units_run_from_the_same_place_with_the_same_settings(name: str) -> None:
    said = unit(name)
    assert said["WorkingDirectory"] == ["/opt/portico"]
    assert said["EnvironmentFile"] == ["-/etc/portico/environment"]
    assert "PORTICO_DATA=/var/lib/portico" in said["Environment"][0].split()
    assert all(shlex.split(command)[0] == "/opt/portico/.venv/bin/python" for command in said["ExecStart"])


def test_units_start_the_processes_of_up() -> None:
    started = {child.name: child.argv[1:] for child in children()}
    for name, kind in (("portico-web@.service", "web"), ("portico-agent.service", "agent")):
        (command,) = unit(name)["ExecStart"]
        assert shlex.split(command)[2:] == started[kind][1:]


def test_the_task_worker_is_started_as_up_does() -> None:
    ours, theirs = celery_argv()[1:], shlex.split(unit("portico-tasks.service")["ExecStart"][0])[1:]
    for option in ("--schedule", "--hostname"):  # of this machine
        for argv in (ours, theirs):
            del argv[argv.index(option) : argv.index(option) + 2]
    assert theirs == ours and sys.executable not in theirs


def test_units_wait_as_long_for_an_end_as_up_does() -> None:
    seconds = {path.name: unit(path.name).get("TimeoutStopSec") for path in UNITS.iterdir()}
    assert int((seconds["portico-agent.service"] or ["0"])[0]) > AGENT_GRACE_SECONDS
    assert int((seconds["portico.service"] or ["0"])[0]) > AGENT_GRACE_SECONDS + 2 * GRACE_SECONDS
    assert int((seconds["portico-web@.service"] or ["0"])[0]) > GRACE_SECONDS
