"""`portico up`: everything from one command, through accidents, and nothing left of it afterwards."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.running_portal import ROOT, RunningPortal, child, free_port, of_portal

pytestmark = pytest.mark.integration

DEMO = ROOT / "tests" / "demos" / "python_server"


def eventually(found: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPortal]:
    with RunningPortal(tmp_path_factory.mktemp("up"), PORTICO_ADMIN="ada:correct-horse-battery") as running:
        running.deploy(DEMO, "ada/server")
        yield running


def answers(portal: RunningPortal) -> bool:
    return portal.get("/", host=portal.host("ada-server"))[0] == 200


def test_health_and_metrics(portal: RunningPortal) -> None:
    assert portal.get("/healthz") == (200, b"ok\n")
    status, body = portal.get("/readyz")
    assert status == 200
    assert b'"database": "ok"' in body and b'"agent": "ok"' in body
    assert b'portico_spaces{stage="RUNNING"} 1.0' in portal.get("/metrics")[1]


def test_a_second_one_on_the_same_folder_or_port_is_refused(portal: RunningPortal, tmp_path: Path) -> None:
    assert "already runs" in portal.command("up", check=False, timeout=60).stderr
    other = RunningPortal(tmp_path / "other", port=portal.port)
    refused = other.command("up", check=False, timeout=60)
    assert refused.returncode != 0
    assert "Name another one in PORTICO_PORT" in refused.stderr
    assert answers(portal)


@pytest.mark.parametrize("words", ["portico agent", "celery", "portico web"])
def test_a_killed_process_is_started_again(portal: RunningPortal, words: str) -> None:
    former = child(portal, words)
    os.kill(former, signal.SIGKILL)
    eventually(lambda: child_or_none(portal, words) not in {None, former})
    eventually(lambda: portal.get("/readyz")[0] == 200)
    eventually(lambda: answers(portal))
    portal.command("restart", "ada/server")
    eventually(lambda: portal.command("stage", "ada/server").stdout.strip() == "RUNNING")


def child_or_none(portal: RunningPortal, words: str) -> int | None:
    try:
        return child(portal, words)
    except AssertionError:
        return None


def test_ctrl_c_leaves_nothing_and_the_next_start_has_everything(portal: RunningPortal) -> None:
    assert len(of_portal(portal)) >= 4
    began = time.monotonic()
    portal.stop()
    assert time.monotonic() - began < 30
    assert of_portal(portal) == {}
    with socket.socket() as s:
        assert s.connect_ex(("127.0.0.1", portal.port)) != 0
    portal.start()
    assert answers(portal)


def test_a_killed_supervisor_takes_everything_with_it(portal: RunningPortal) -> None:
    assert portal.process is not None
    portal.process.kill()
    portal.process.wait()
    eventually(lambda: of_portal(portal) == {})
    portal.process = None
    portal.start()
    assert answers(portal)


def test_without_an_administrator_a_one_time_address_is_printed(tmp_path: Path) -> None:
    with RunningPortal(tmp_path / "fresh") as fresh:
        eventually(lambda: f"Portico is at http://localhost:{fresh.port}" in fresh.log.read_text())
        address = re.search(r"http://localhost:\d+(/setup/\S+)", fresh.log.read_text())
        assert address
        status, body = fresh.get(address[1])
        assert (status, b"password" in body) == (200, True)
        assert fresh.get("/setup/wrong")[0] == 404


def test_a_wrong_setting_is_told_in_words(tmp_path: Path) -> None:
    wrong = RunningPortal(tmp_path / "wrong", port=free_port(), PORTICO_ADMIN="ada")
    refused = wrong.command("up", check=False, timeout=60)
    assert "PORTICO_ADMIN must be name:password" in refused.stderr
    assert "Traceback" not in refused.stderr
