"""`portico up`: everything from one command, through accidents, and nothing left of it afterwards."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from apps.sandbox import cgroups
from tests.running_portal import ROOT, RunningPortal, child, free_port, of_portal
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

DEMO = ROOT / "tests" / "demos" / "python_server"


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
    with closing(sqlite3.connect(portal.data / "portico.sqlite3")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert b'"database": "ok"' in body and b'"agent": "ok"' in body
    assert b'portico_spaces{stage="RUNNING"} 1.0' in portal.get("/metrics")[1]


def test_a_second_one_on_the_same_folder_or_port_is_refused(portal: RunningPortal, tmp_path: Path) -> None:
    assert "already runs" in portal.command("up", check=False, timeout=60).stderr
    other = RunningPortal(tmp_path / "other", port=portal.port)
    refused = other.command("up", check=False, timeout=60)
    assert refused.returncode != 0
    assert "Name another one in PORTICO_PORT" in refused.stderr
    assert answers(portal)


def test_a_space_put_to_sleep_is_woken(portal: RunningPortal) -> None:
    for verb, stage in (("sleep", "SLEEPING"), ("wake", "RUNNING")):
        portal.command(verb, "ada/server")
        assert f'portico_spaces{{stage="{stage}"}} 1.0'.encode() in portal.get("/metrics")[1]


def test_a_deployment_that_fails_says_its_stage_and_why(portal: RunningPortal, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text('raise SystemExit("why it ends")')
    failed = portal.command("deploy", str(tmp_path), "ada/ends", "--sdk", "python", check=False)
    assert (failed.returncode, failed.stdout) == (1, "RUNTIME_ERROR\n")
    assert "why it ends" in failed.stderr.splitlines()


@pytest.mark.parametrize("words", ["portico agent", "celery", "portico web"])
def test_a_killed_process_is_started_again(portal: RunningPortal, words: str) -> None:
    former = child(portal, words)
    os.kill(former, signal.SIGKILL)
    wait_until(lambda: child_or_none(portal, words) not in {None, former})
    wait_until(lambda: portal.get("/readyz")[0] == 200)
    wait_until(lambda: answers(portal))
    portal.command("restart", "ada/server")
    wait_until(lambda: portal.command("stage", "ada/server").stdout.strip() == "RUNNING")


def child_or_none(portal: RunningPortal, words: str) -> int | None:
    try:
        return child(portal, words)
    except AssertionError:
        return None


def alive() -> dict[tuple[int, str], int]:
    """Every process by its id and the moment it began, with its parent. Not those that ended and wait to be reaped."""
    found: dict[tuple[int, str], int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            if stat[0] not in "ZX":
                found[int(folder.name), stat[19]] = int(stat[1])
    return found


def descendants(pid: int) -> set[tuple[int, str]]:
    everybody, found, waiting = alive(), set[tuple[int, str]](), {pid}
    while waiting:
        below = {process for process, parent in everybody.items() if parent in waiting}
        found |= below
        waiting = {pid for pid, _ in below}
    return found


def folder_of(pid: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return None


def control_groups(portal: RunningPortal) -> set[str]:
    mark = cgroups.mark(portal.data)
    return cgroups.named(f"portico-{mark}") | cgroups.named(f"portico-builds-{mark}")


def socket_files(portal: RunningPortal) -> list[Path]:
    return [path for path in (portal.data / "run").rglob("*") if path.is_socket()]


def test_ctrl_c_leaves_nothing_and_the_next_start_has_everything(portal: RunningPortal) -> None:
    assert portal.process is not None and answers(portal)
    family = descendants(portal.process.pid)
    assert "/app" in {folder_of(pid) for pid, _ in family}, "the Space's worker among them"
    assert len(of_portal(portal)) >= 4 and socket_files(portal)
    at = time.monotonic()
    portal.stop()
    assert time.monotonic() - at < 30
    assert of_portal(portal) == {}
    assert family & alive().keys() == set()
    assert control_groups(portal) == set()
    assert str(portal.data) not in Path("/proc/self/mountinfo").read_text()
    assert socket_files(portal) == []
    with socket.socket() as s:
        assert s.connect_ex(("127.0.0.1", portal.port)) != 0
    at = time.monotonic()
    portal.start()
    assert time.monotonic() - at < 30  # no packages, no migrations, no static files: seconds
    assert answers(portal)


def test_a_killed_supervisor_takes_everything_with_it(portal: RunningPortal) -> None:
    assert portal.process is not None
    portal.process.kill()
    portal.process.wait()
    wait_until(lambda: of_portal(portal) == {})
    portal.process = None
    portal.start()
    assert answers(portal)


def test_without_an_administrator_a_one_time_address_is_printed(tmp_path: Path) -> None:
    with RunningPortal(tmp_path / "fresh") as fresh:
        wait_until(lambda: f"Portico is at http://localhost:{fresh.port}" in fresh.log.read_text())
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
