"""Demos that try to hurt others by what they use up, or by how they answer; a neighbour answers all the while."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from apps.runtime import client
from apps.spaces.models import Space, Stage
from tests.running_agent import RunningAgent, ensure, fetch, sleeping_space, stage_of, wait_for_stage, wait_until
from tests.security.spy import WAYS, Worker, space_of

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

MIB = 1024**2
STILL_ANSWERS = 15.0
"""Seconds within which a neighbour must have answered: not its speed, only that nothing has come to a stand."""


@pytest.fixture(scope="module")
def agent_of_file(django_db_setup: None) -> Iterator[RunningAgent]:
    small = {
        "PORTICO_WORKER_MEMORY_BYTES": str(160 * MIB),
        "PORTICO_WORKER_DISK_BYTES": str(16 * MIB),
        "PORTICO_WORKER_PROCESSES": "60",
        "PORTICO_WORKER_RESTARTS": "0",
    }
    with RunningAgent(**small) as running:
        yield running


@pytest.fixture(autouse=True, params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    if request.param == "forked" and os.geteuid() != 0:
        pytest.skip("only root forks workers")
    return str(request.param)


class Neighbour:
    """Another Space, asked again and again, and the agent with it, for as long as the `with` block lasts."""

    def __enter__(self) -> Self:
        self._worker = ensure(sleeping_space())
        self._over = threading.Event()
        self._failed: list[BaseException] = []
        self.answers, self.slowest = 0, 0.0
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def _ask(self) -> None:
        try:
            while not self._over.wait(0.05):
                began = time.monotonic()
                assert fetch(self._worker) == "hello"
                asyncio.run(client.agent_status())
                self.answers += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
        except BaseException as error:
            self._failed.append(error)

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        assert not self._failed, self._failed
        assert self.answers > 0
        assert self.slowest < STILL_ANSWERS


BOMBS = {
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


def test_memory_of_every_kind_is_its_own(agent: RunningAgent, way: str) -> None:
    with Neighbour():
        for what, bomb in BOMBS.items():
            worker = Worker(space_of(way))
            with contextlib.suppress(AssertionError, OSError, TimeoutError):
                assert worker.do(bomb) == "it was ended", what
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
    "addresses of its own": "import socket, time\nfor a in ('127.0.0.2', '127.255.0.1'):\n"
    "    s = socket.create_server((a, 7860)); globals()[a] = s\ntime.sleep(1000)\n",
}


def test_what_never_gets_ready_is_told_so_and_delays_nobody(agent: RunningAgent, way: str) -> None:
    with Neighbour():
        spaces = [space_of(way, code) for code in UNREADY.values()]
        Space.objects.filter(pk__in=[s.pk for s in spaces]).update(sleep_seconds=0)
        for space in spaces:
            space.deployments.update(startup_seconds=4)

        async def start() -> list[object]:
            asked = (client.ensure_worker(space.pk, timeout=60) for space in spaces)
            return await asyncio.gather(*asked, return_exceptions=True)

        for what, outcome in zip(UNREADY, asyncio.run(start()), strict=True):
            assert isinstance(outcome, client.StartRefused), what
            assert "did not answer within 4 seconds" in outcome.message, what


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


def test_it_cannot_make_itself_more_important_nor_change_the_machine(agent: RunningAgent, way: str) -> None:
    spy = Worker(space_of(way))
    for attempt in (
        "os.nice(-5)",
        "os.setpriority(os.PRIO_PROCESS, 0, -10)",
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
        "os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))",
        "__import__('time').clock_settime(0, 1.0)",
        "write('/proc/self/oom_score_adj', '-1000')",
        "open('/dev/kmsg').read(1)",
        "open('/proc/kmsg').read(1)",
        "write('/proc/sys/kernel/hostname')",
        "write('/proc/sysrq-trigger', 'b')",
        "os.chroot('/tmp')",
        "socket.sethostname('x')",
        "__import__('resource').setrlimit(7, (1 << 20, 1 << 20))",
        "str(socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))",
        "str(socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132))",
        "str(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12))",
    ):
        assert "Error" in str(spy.ask(attempt)), attempt
    assert int(str(spy.ask("int(open('/proc/self/oom_score_adj').read())"))) >= 500, "the first to go"


def test_it_reaches_nothing_by_way_of_proc_links_or_descriptors(agent: RunningAgent, way: str) -> None:
    spy = Worker(space_of(way))
    for attempt in (
        "open('/proc/1/mem', 'r+b')",
        "os.readlink('/proc/1/fd/1')",
        "os.open('/proc/1/fd/1', os.O_WRONLY)",
        "os.listdir('/proc/1/root/')",
        "open('/proc/1/exe', 'r+b')",
        "open(os.readlink('/proc/self/exe'), 'r+b')",
        "os.link('/usr/bin/env', '/tmp/env')",
        "os.link('/opt/environment/pyvenv.cfg', '/app/x')",
        "os.rename('/app', '/tmp/app')",
        "os.kill(1, 9)",
        "os.kill(1, 15)",
        "open('/proc/self/cwd/../root/.ssh/id_rsa')",
    ):
        assert "Error" in str(spy.ask(attempt)), attempt
    assert spy.do("os.symlink('/proc/1/root/root', '/app/up')\nfound = os.path.exists('/app/up')") is False
    kept = spy.do(
        "names = [os.readlink(f'/proc/self/fd/{n}') for n in range(3, 64) if os.path.islink(f'/proc/self/fd/{n}')]\n"
        "found = [name for name in names if not name.startswith('socket:')]"
    )
    assert kept == [], "nothing of the birth, of the control groups, of the plan"
    assert fetch(spy.worker, "/") == "ready", "signals to its whole group, pid 1 in it, did not end it"


def test_a_setuid_program_gives_nothing(agent: RunningAgent, way: str) -> None:
    programs = [str(p) for p in Path("/usr/bin").iterdir() if p.is_file() and p.stat().st_mode & 0o4000]
    assert programs, "Debian has su and others"
    spy = Worker(space_of(way))
    for program in programs[:4]:
        ids = spy.do(
            f"p = subprocess.Popen([{program!r}], stdin=subprocess.PIPE, stdout=-3, stderr=-3)\n"
            "status = open(f'/proc/{p.pid}/status').read()\np.kill()\n"
            "found = [line.split()[1:] for line in status.splitlines() if line.startswith(('Uid', 'CapEff'))]"
        )
        assert ids == [["1000"] * 4, ["0000000000000000"]], program


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
