"""Demos that try to hurt others by what they use up, or by how they answer; a neighbour answers all the while.

Root's agent holds each by control groups. An ordinary user's may have none, and then says what it does not hold.
"""

from __future__ import annotations

import asyncio
import os
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.runtime import client
from apps.runtime.agent.output import BURST_BYTES
from apps.spaces.logs import read_log
from apps.spaces.models import Space, Stage
from tests.running_agent import RunningAgent, ensure, fetch, stage_of, wait_for_stage
from tests.sandbox.bombs import ENDLESS_FORKS
from tests.security import spy
from tests.security.leftovers import BURN, DAEMON, STUBBORN, new_seconds, processes_of, sleepers
from tests.security.neighbour import Neighbour
from tests.security.spy import Worker, capability, space_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), spy.EVERY_WAY]

MIB = 1024**2
PROCESSES = 60
CPUS = 1.0


@pytest.fixture(scope="module")
def agent_of_file(agent_is: str, django_db_setup: None) -> Iterator[RunningAgent]:
    small = {
        "PORTICO_WORKER_MEMORY_BYTES": str(160 * MIB),
        "PORTICO_WORKER_DISK_BYTES": str(16 * MIB),
        "PORTICO_WORKER_PROCESSES": str(PROCESSES),
        "PORTICO_WORKER_CPUS": str(CPUS),
        "PORTICO_WORKER_RESTARTS": "0",
    }
    with spy.agent_of(agent_is, **small) as running:
        yield running


@pytest.fixture
def held(agent: RunningAgent) -> bool:
    """Whether control groups hold its workers. Where they do not, `portico status` says what that means."""
    found = capability("limits")
    if not found["ok"]:
        for word in ("memory", "per process", "processor time"):
            assert word in found["detail"], found
    return bool(found["ok"])


BOMBS = {
    "its own": "held = [bytearray(2**20) for n in range(400)]\nfound = 'all of it'",
    "files in /dev/shm, /tmp and memfds": """
held = []
for n in range(14):
    for folder in ("/dev/shm", "/tmp"):
        try:
            open(f"{folder}/f{n}", "wb").write(bytes(2**20))
        except OSError:
            pass
for n in range(300):
    held.append(os.memfd_create("x"))
    os.write(held[-1], bytes(2**20))
found = "all of it"
""",
    "System V shared memory": """
import ctypes
c = ctypes.CDLL(None)
c.shmat.restype = ctypes.c_void_p
for n in range(20):
    number = c.shmget(0, 16 * 2**20, 0o1600)
    ctypes.memset(c.shmat(number, None, 0), 1, 16 * 2**20)
found = "all of it"
""",
}


def test_memory_of_every_kind_is_its_own(agent: RunningAgent, way: str, held: bool) -> None:
    with Neighbour():
        for what, bomb in BOMBS.items():
            worker = Worker(space_of(way))
            if not held:
                assert worker.do(bomb) in ("all of it", "MemoryError: "), what
                assert stage_of(worker.space) == Stage.RUNNING
                asyncio.run(client.stop_worker(worker.space.pk))
                continue
            with pytest.raises((AssertionError, OSError, TimeoutError)):  # it was ended over it
                worker.do(bomb)
            wait_for_stage(worker.space, Stage.RUNTIME_ERROR)
            assert "more memory than" in worker.space.stage_message, what


def test_processes_threads_inodes_and_descriptors_run_out_for_it_alone(agent: RunningAgent, way: str) -> None:
    with Neighbour():
        worker = Worker(space_of(way))
        threads = worker.do(
            "import threading\nover, held = threading.Event(), []\n"
            "try:\n    while len(held) < 200:\n"
            "        held.append(threading.Thread(target=over.wait, daemon=True)); held[-1].start()\n"
            "except RuntimeError: held.pop()\nover.set()\nfound = len([t.join() for t in held])"
        )
        assert isinstance(threads, int) and threads < 60
        inodes = worker.do(
            "found = 0\ntry:\n    while found < 20000:\n        open(f'/tmp/i{found}', 'w').close(); found += 1\n"
            "except OSError as error: found = [found, error.errno]\n"
        )
        assert isinstance(inodes, list) and inodes[0] < 5000 and inodes[1] == 28
        sockets = worker.do(
            "import socket\nheld = []\n"
            "try:\n    while len(held) < 9000: held.append(socket.socket())\nexcept OSError: pass\nfound = len(held)"
        )
        assert isinstance(sockets, int) and sockets <= 4096
        assert stage_of(worker.space) == Stage.RUNNING


FILL = """
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
found = [fill(f"{folder}/big") for folder in ("/tmp", "/home/user", "/dev/shm", "/app")]
"""


def test_a_full_disk_is_its_own(agent: RunningAgent, way: str) -> None:
    with Neighbour():
        worker = Worker(space_of(way))
        found = worker.do(FILL)
        assert isinstance(found, list) and len(found) == 4
        assert set(found) <= {"ENOSPC after 15 MiB", "ENOSPC after 16 MiB"}, found
        assert stage_of(worker.space) == Stage.RUNNING


FORK_BOMB = f"""
if os.fork() == 0:
    os.setsid()
    os.dup2(os.open("/dev/null", os.O_RDWR), 1)
{textwrap.indent(ENDLESS_FORKS, "    ")}
found = "lit"
"""


def test_a_fork_bomb_that_heeds_no_signal_and_left_its_session_stays_within_its_space_and_ends_with_it(
    agent: RunningAgent, way: str, held: bool
) -> None:
    seconds = new_seconds()
    with Neighbour(shares_processors=held):
        worker = Worker(space_of(way, STUBBORN))
        within = str(Path(f"/proc/{worker.init}/ns/pid").readlink())
        assert worker.do(DAEMON.format(seconds=seconds)) == 0
        wait_until(lambda: sleepers(seconds))
        assert worker.do(FORK_BOMB) == "lit"
        wait_until(lambda: len(processes_of(within)) > PROCESSES - 10)
        assert len(processes_of(within)) <= PROCESSES
        asyncio.run(client.stop_worker(worker.space.pk))  # which waits some seconds for its goodbye
        assert sleepers(seconds) == []
        wait_until(lambda: processes_of(within) == [])


def test_busy_loops_in_all_its_processes_get_its_share_of_the_processors(
    agent: RunningAgent, way: str, held: bool
) -> None:
    """Measured by the processor time that it got: how slow the neighbour becomes says more of this machine."""
    with Neighbour(shares_processors=held):
        worker = Worker(space_of(way))

        def used() -> float | None:
            workers = asyncio.run(client.agent_status())["workers"]
            found: float | None = next(w["cpu_seconds"] for w in workers if w["space"] == worker.space.pk)
            return found

        assert worker.do(BURN) == "burning"
        began, before = time.monotonic(), used()
        time.sleep(1.5)
        after, seconds = used(), time.monotonic() - began
        if held:
            assert before is not None and after is not None
            assert 0 < (after - before) / seconds < 1.2 * CPUS
        else:
            assert before is None, "told to be unknown, not to be none"
        asyncio.run(client.stop_worker(worker.space.pk))


FLOOD = """
import threading
def flood():
    while True:
        sys.stdout.write("x" * 4096 + "\\n")
threading.Thread(target=flood, daemon=True).start()
found = "flooding"
"""


def test_a_log_without_end_is_bounded(agent: RunningAgent, way: str, held: bool) -> None:
    with Neighbour(shares_processors=held):
        worker = Worker(space_of(way))
        assert worker.do(FLOOD) == "flooding"
        wait_until(lambda: read_log(worker.space.pk, "run")[2] > BURST_BYTES)
        time.sleep(1)
        _, kept, end = read_log(worker.space.pk, "run")
        assert end < 1.5 * MIB
        assert len(kept) <= 1.5 * MIB
        asyncio.run(client.stop_worker(worker.space.pk))
    assert b"bytes were not kept: the app prints more than" in read_log(worker.space.pk, "run")[1]


LISTENS_EVERYWHERE = """
import os, resource, socket, threading, time
held = []
for low in range(4):
    if os.fork() == 0:
        for port in range(20000 + low * 3500, 23500 + low * 3500):
            s = socket.socket(); s.bind(("127.0.0.1", port)); s.listen(); held.append(s)
        time.sleep(1000)
time.sleep(1000)
"""
NEVER_ENDING = """
import os, socket
server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=100)
while True:
    c, _ = server.accept()
    try:
        c.recv(4096)
        c.sendall(b"HTTP/1.1 ")
        while True:
            c.sendall(b"{}")
            {}
    except OSError:
        pass
"""
UNREADY = {
    "thousands of ports": LISTENS_EVERYWHERE,
    "a status line without end": NEVER_ENDING.format("x" * 65536, "pass"),
    "a byte now and then": NEVER_ENDING.format("x", "__import__('time').sleep(1)"),
    "nothing at all": "import time\ntime.sleep(1000)\n",
    "addresses of its own": "import socket, time\nfor a in ('127.0.0.2', '127.255.0.1'):\n"
    "    s = socket.create_server((a, 7860)); globals()[a] = s\ntime.sleep(1000)\n",
}


def test_what_never_gets_ready_is_told_so_and_delays_nobody(agent: RunningAgent, way: str) -> None:
    with Neighbour():
        spaces = [space_of(way, code) for code in UNREADY.values()]
        Space.objects.filter(pk__in=[s.pk for s in spaces]).update(sleep_seconds=0)
        for space in spaces:
            space.deployments.update(startup_seconds=3)

        async def start() -> list[object]:
            asked = (client.ensure_worker(space.pk, timeout=60) for space in spaces)
            return await asyncio.gather(*asked, return_exceptions=True)

        for what, outcome in zip(UNREADY, asyncio.run(start()), strict=True):
            assert isinstance(outcome, client.StartRefused), what
            assert "did not answer within 3 seconds" in outcome.message, what


ENDLESS_HEADERS = """
import os, socket, threading
server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=100)
def serve(c):
    try:
        c.recv(4096)
        c.sendall(b"HTTP/1.1 200 OK\\r\\n")
        while True:
            c.sendall(b"X-Filler: " + b"x" * 65536 + b"\\r\\n")
    except OSError:
        pass
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


def test_the_readiness_probe_reads_no_headers(agent: RunningAgent, way: str) -> None:
    """They are the gateway's affair, which bounds them (tests/gateway)."""
    with Neighbour():
        space = space_of(way, ENDLESS_HEADERS)
        assert ensure(space).port == 7860


def test_a_port_closed_after_the_start_is_refused_at_once(agent: RunningAgent, way: str) -> None:
    spy = Worker(space_of(way))
    spy.do("import gc\n[s.close() for s in gc.get_objects() if isinstance(s, socket.socket)"
           " and s.getsockopt(1, 30)]\nfound = 1")  # fmt: skip
    with pytest.raises((OSError, AssertionError)):
        fetch(spy.worker)
    asyncio.run(client.stop_worker(spy.space.pk))
    wait_until(lambda: not asyncio.run(client.agent_status())["workers"])


def test_the_machines_own_account_keeps_its_inotify(agent: RunningAgent, way: str) -> None:
    """The kernel counts what is used in a user namespace for the account that made it as well."""
    import ctypes

    libc = ctypes.CDLL(None)
    take = "import ctypes\nc = ctypes.CDLL(None)\nfound = sum(c.inotify_init() >= 0 for _ in range(200))"
    most = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    taken = sum(int(str(Worker(space_of(way)).do(take))) for _ in range(2))
    assert taken == 16 < most
    number = libc.inotify_init()
    assert number >= 0
    os.close(number)
