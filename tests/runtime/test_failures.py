"""Apps that go wrong: each ends with a clear word to its owner. What attacks is in tests/security."""

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
)
from tests.waiting import wait_until

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
    return lent_agent(PORTICO_WORKER_MEMORY_BYTES=str(128 * MIB), PORTICO_WORKER_RESTARTS="1")


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
