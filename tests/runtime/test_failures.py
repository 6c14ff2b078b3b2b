"""Apps that go wrong: each ends with a clear word to its owner, and costs nobody else anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from apps.runtime import client
from apps.runtime.models import Worker
from apps.spaces.logs import read_log
from apps.spaces.models import Space, Stage
from tests.running_agent import (
    HELLO,
    SERVER,
    RunningAgent,
    ensure,
    fetch,
    sleeping_space,
    stage_of,
    wait_for_stage,
    wait_until,
)

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

MIB = 1024**2
ON_REQUEST = (
    SERVER
    + """
import threading
class Does(Handler):
    def do_GET(self):
        if self.path == "/do":
            threading.Timer(0.5, do).start()
        super().do_GET()
"""
)
"""Then define `do()`, which a GET of /do begins, and `serve(Does)`."""


@pytest.fixture
def small_agent(lent_agent: Callable[..., RunningAgent]) -> RunningAgent:
    """An agent that gives little and restarts once."""
    small = {
        "PORTICO_WORKER_MEMORY_BYTES": str(128 * MIB),
        "PORTICO_WORKER_DISK_BYTES": str(16 * MIB),
        "PORTICO_WORKER_PROCESSES": "40",
        "PORTICO_WORKER_RESTARTS": "1",
    }
    return lent_agent(**small)


def refused(space: Space) -> str:
    """Start it, expect it to fail, return what the owner is told."""
    with pytest.raises(client.StartRefused) as error:
        ensure(space)
    assert error.value.stage == Stage.RUNTIME_ERROR
    return error.value.message


def test_an_app_that_exits_at_once_is_restarted_a_bounded_number_of_times(small_agent: RunningAgent) -> None:
    space = sleeping_space("print('one last word')\nraise SystemExit(3)\n")
    told = refused(space)
    assert "It ended with exit code 3." in told
    assert "started again in 1 s (1 of 1)" in told
    assert told.endswith("one last word")
    wait_until(lambda: Worker.objects.filter(space=space, state=Worker.State.ENDED).count() == 2)
    wait_until(lambda: "not started again by itself" in Space.objects.get(pk=space.pk).stage_message)
    time.sleep(2.5)
    assert Worker.objects.filter(space=space).count() == 2
    assert stage_of(space) == Stage.RUNTIME_ERROR
    assert "one last word" in refused(space), "a visit does not start it again"
    assert Worker.objects.filter(space=space).count() == 2


def test_a_crash_while_running_is_told_and_mended(small_agent: RunningAgent) -> None:
    space = sleeping_space(ON_REQUEST + "def do():\n    print('oh no', flush=True)\n    os._exit(7)\nserve(Does)\n")
    worker = ensure(space)
    fetch(worker, "/do")
    wait_until(lambda: space.stage_changes.filter(stage=Stage.RUNTIME_ERROR).exists())
    told = space.stage_changes.filter(stage=Stage.RUNTIME_ERROR).latest("pk").message
    assert "exit code 7" in told
    assert "oh no" in told
    wait_for_stage(space, Stage.RUNNING)
    assert fetch(ensure(space)) == "hello"
    assert ensure(space).id != worker.id


def test_a_restart_by_its_owner_gives_a_failed_app_new_attempts(small_agent: RunningAgent) -> None:
    space = sleeping_space("raise SystemExit(1)\n")
    refused(space)
    wait_until(lambda: "not started again" in Space.objects.get(pk=space.pk).stage_message)
    asyncio.run(client.restart_worker(space.pk))
    wait_until(lambda: Worker.objects.filter(space=space).count() == 4)


def test_an_app_killed_by_a_signal_says_which(small_agent: RunningAgent) -> None:
    assert "signal SIGSEGV" in refused(sleeping_space("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"))


def test_an_app_that_never_listens_is_told_so_and_ended(small_agent: RunningAgent) -> None:
    space = sleeping_space("import time\ntime.sleep(1000)\n", startup_seconds=1)
    told = refused(space)
    assert "It did not answer within 1 seconds. Nothing listens" in told
    assert "port 7860" in told
    wait_until(lambda: not Worker.objects.filter(space=space).exclude(state=Worker.State.ENDED).exists())


def test_an_app_that_listens_but_only_fails_is_told_so(small_agent: RunningAgent) -> None:
    failing = SERVER + "class Fails(Handler):\n    def do_GET(self):\n        self.send_error(503)\nserve(Fails)\n"
    assert "listens on port 7860" in refused(sleeping_space(failing, startup_seconds=5))


def test_running_out_of_memory_is_told_from_a_crash(small_agent: RunningAgent) -> None:
    hungry = (
        ON_REQUEST + "def do():\n    held = []\n    while True:\n        held.append(bytearray(2**20))\nserve(Does)\n"
    )
    space = sleeping_space(hungry)
    fetch(ensure(space), "/do")
    wait_until(lambda: space.stage_changes.filter(stage=Stage.RUNTIME_ERROR).exists())
    told = space.stage_changes.filter(stage=Stage.RUNTIME_ERROR).latest("pk").message
    assert "It used more memory than the 128 MiB it may have" in told


def test_files_in_memory_count_as_memory_and_end_at_the_disk_limit(small_agent: RunningAgent) -> None:
    filler = (
        SERVER
        + """
import errno
def fill(path):
    try:
        with open(path, "wb") as file:
            for _ in range(64):
                file.write(bytes(2**20)); file.flush()
        return "endless"
    except OSError as error:
        written = os.path.getsize(path)
        os.unlink(path)
        return f"{errno.errorcode[error.errno]} after {written // 2**20} MiB"
class Fills(Handler):
    def answer(self):
        return "; ".join(fill(f"{folder}/big") for folder in ("/tmp", "/home/user", "/dev/shm", "/app"))
serve(Fills)
"""
    )
    space = sleeping_space(filler)
    answers = fetch(ensure(space)).split("; ")
    assert len(answers) == 4
    for answer in answers:
        assert answer in ("ENOSPC after 15 MiB", "ENOSPC after 16 MiB"), answer
    assert stage_of(space) == Stage.RUNNING


def test_a_fork_bomb_stays_within_its_space(small_agent: RunningAgent) -> None:
    bomb = (
        ON_REQUEST
        + """
counted = []
def do():
    import time
    children = 0
    while True:
        try:
            if os.fork() == 0:
                time.sleep(1000)
            children += 1
        except OSError:
            counted.append(children)
            return
class Bomb(Does):
    def answer(self):
        return str(counted)
serve(Bomb)
"""
    )
    space, neighbour = sleeping_space(bomb), sleeping_space()
    worker = ensure(space)
    fetch(worker, "/do")
    counted = wait_until(lambda: fetch_or_none(worker))
    assert 10 < counted < 40
    assert fetch(ensure(neighbour)) == "hello"
    asyncio.run(client.stop_worker(space.pk))
    assert not any(w["space"] == space.pk for w in asyncio.run(client.agent_status())["workers"])


def fetch_or_none(worker: client.RunningWorker) -> int | None:
    try:
        text = fetch(worker).strip("[]")
    except (AssertionError, OSError, TimeoutError):
        return None  # no thread is left for an answer just now
    return int(text) if text else None


def test_an_app_that_prints_without_end_is_bounded_and_delays_nobody(small_agent: RunningAgent) -> None:
    noisy = ON_REQUEST + (
        "def do():\n    while True:\n        sys.stdout.write('x' * 4096 + '\\n')\nserve(Does)\n"
    )  # fmt: skip
    space, neighbour = sleeping_space(noisy), sleeping_space()
    fetch(ensure(space), "/do")
    time.sleep(2)
    began = time.monotonic()
    assert fetch(ensure(neighbour)) == "hello"
    for _ in range(20):
        asyncio.run(client.agent_status())
    assert time.monotonic() - began < 5
    _, kept, end = read_log(space.pk, "run")
    assert end < 1.5 * MIB
    assert len(kept) <= 1.5 * MIB
    asyncio.run(client.stop_worker(space.pk))
    assert b"bytes were not kept: the app prints more than" in read_log(space.pk, "run")[1]


def test_an_app_that_ignores_sigterm_is_ended_all_the_same(small_agent: RunningAgent) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HELLO
    space = sleeping_space(stubborn)
    ensure(space)
    began = time.monotonic()
    asyncio.run(client.stop_worker(space.pk))
    assert 4 < time.monotonic() - began < 12
    assert asyncio.run(client.agent_status())["workers"] == []


def test_an_app_may_say_goodbye(small_agent: RunningAgent) -> None:
    polite = (
        "import signal, sys\n"
        "def bye(*_):\n    print('goodbye', flush=True)\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, bye)\n" + HELLO
    )
    space = sleeping_space(polite)
    ensure(space)
    asyncio.run(client.stop_worker(space.pk))
    assert b"goodbye" in read_log(space.pk, "run")[1]
