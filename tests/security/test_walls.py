"""Each wall does something: with it gone the attack comes further, and no further than to the next wall."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import platform
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from django.conf import settings

from apps.runtime import client
from apps.sandbox.namespaces import entered
from apps.sandbox.users import FIRST
from apps.spaces import plans
from apps.spaces.logs import read_log
from apps.spaces.models import Plan, Stage
from tests.running_agent import RunningAgent, bare_environment, ensure, sleeping_space, stage_of
from tests.security.leftovers import BURN, DAEMON, STUBBORN, new_seconds, sleepers
from tests.security.spy import ATTACH, SPY, WAYS, Worker, cgroups_seen, machine_memory, space_of
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has all of these walls"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of calls are those of x86-64"),
]

MIB = 1024**2
IN_SOCKETS_APART = Path("/sys/fs/cgroup/memory/memory.kmem.tcp.limit_in_bytes").exists()
"""Version 2 of control groups counts data in sockets as memory."""
SMALL = {
    "PORTICO_WORKER_MEMORY_BYTES": str(160 * MIB),
    "PORTICO_WORKER_DISK_BYTES": str(16 * MIB),
    "PORTICO_WORKER_PROCESSES": "40",
    "PORTICO_WORKER_RESTARTS": "0",
}
CALL = "(lambda c: (c.syscall({}), __import__('ctypes').get_errno()))(__import__('ctypes').CDLL(None, use_errno=True))"
MOUNT = CALL.format("165, b'none', b'/tmp', b'tmpfs', 0, b''")
UNSHARE_USER = """
import ctypes
pid = os.fork()  # of one thread, as the kernel wants it
if pid == 0:
    c = ctypes.CDLL(None, use_errno=True)
    os._exit(ctypes.get_errno() if c.syscall(272, 0x10000000) else 0)
found = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
PERSONALITY = CALL.format("135, 0xffffffff")
ENVIRONMENT_FILE = "/opt/environment/pyvenv.cfg"
CORE_PATTERN = "os.close(os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)) or 'opened'"
"""Opened only: the pattern is this machine's."""


@contextlib.contextmanager
def without(*walls: str) -> Iterator[RunningAgent]:
    with RunningAgent([sys.executable, "-m", "tests.security.weakened", *walls], **SMALL) as agent:
        yield agent


def both_ways() -> list[Worker]:
    return [Worker(space_of(way)) for way in WAYS]


def refused(answer: object) -> bool:
    assert isinstance(answer, list)
    return answer == [-1, errno.EPERM]


def test_without_seccomp_and_landlock_the_kernel_answers_and_the_next_wall_stands(transactional_db: None) -> None:
    with without("seccomp", "landlock", "insisting"):
        for worker in both_ways():
            assert worker.ask("os.kill(1, 0)") is None, "pid 1 is within reach"
            assert worker.ask(PERSONALITY) != [-1, errno.EPERM]
            assert worker.do(UNSHARE_USER) == errno.ENOSPC, "no user namespace is left to be made"
            assert refused(worker.ask(MOUNT)), "no capability"
        assert outlives(("forked",)) == [], "what SIGKILL to its first process would end, its control group does"


def test_without_seccomp_and_the_kernels_limit_it_makes_a_user_namespace(transactional_db: None) -> None:
    with without("seccomp", "user_namespaces"):
        for worker in both_ways():
            assert worker.do(UNSHARE_USER) == 0


def test_what_never_answers_is_given_up_by_its_time_alone(transactional_db: None) -> None:
    with without("startup"):
        space = space_of("forked", "import time\ntime.sleep(1000)\n")
        space.deployments.update(startup_seconds=1)
        with pytest.raises(TimeoutError):
            asyncio.run(client.ensure_worker(space.pk, timeout=4))
        assert stage_of(space) == Stage.APP_STARTING


def test_without_seccomp_and_with_every_capability_landlock_still_forbids_to_mount(transactional_db: None) -> None:
    with without("seccomp", "capabilities"):
        for worker in both_ways():
            status = str(worker.ask("open('/proc/self/status').read()"))
            assert "CapEff:\t0000000000000000" not in status
            assert refused(worker.ask(MOUNT))


def test_without_all_three_it_mounts(transactional_db: None) -> None:
    with without("seccomp", "capabilities", "landlock"):
        fresh, forked = both_ways()
        assert forked.ask(MOUNT) == [0, 0]
        assert refused(fresh.ask(MOUNT)), "bubblewrap's mounts belong to a user namespace above"


GAIN = "import shutil\nfor p in ('/tmp/gain', '/app/gain'): shutil.copy('/usr/bin/id', p)\nfound = 'there'"
"""A program that says who it is, to be made one of another user."""
GIVES_UP = "lambda: __import__('ctypes').CDLL(None).prctl(38, 1, 0, 0, 0)"


def test_a_setuid_program_gives_rights_only_without_three_walls(transactional_db: None) -> None:
    """In a fork: bubblewrap leaves none of them out for a fresh interpreter, whatever it is told."""
    with without("no_new_privs", "nosuid", "one_user"):
        worker = Worker(space_of("forked"))
        assert worker.do(GAIN) == "there"

        def runs(program: str, owner: int, preexec: str = "None") -> object:
            path = Path(f"/proc/{worker.init}/root{program}")
            os.chown(path, owner, owner)
            path.chmod(0o4755)
            return worker.ask(f"subprocess.check_output([{program!r}, '-u'], preexec_fn={preexec}).decode().strip()")

        assert runs("/tmp/gain", FIRST) == "999", "another user's rights"
        assert runs("/tmp/gain", FIRST, GIVES_UP) == "1000", "no_new_privs stands alone"
        assert runs("/app/gain", FIRST) == "1000", "nosuid stands alone"
        assert runs("/tmp/gain", 0) == "1000", "the owner is no user of its namespace, as root is not of any worker's"


def test_without_a_network_of_its_own_it_reaches_the_portal(transactional_db: None) -> None:
    """The very attack of `test_isolation`. The machine here is a network namespace of the agent's, with egress off."""
    apart = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    weakened = [sys.executable, "-m", "tests.security.weakened", "network"]
    with RunningAgent([*apart, *weakened], **SMALL, PORTICO_EGRESS="none") as agent:
        for way in WAYS:
            worker = Worker(space_of(way))
            assert agent.process is not None
            with Path(f"/proc/{agent.process.pid}/ns/net").open("rb") as machine, entered(machine.fileno()):
                portal = socket.create_server(("127.0.0.1", 0))
            with portal:
                assert worker.ask(f"reach(socket.AF_INET, {portal.getsockname()!r})") == "reached"
            asyncio.run(client.stop_worker(worker.space.pk))


@pytest.mark.parametrize("standing", [None, "own_user"])
def test_what_is_the_portals_is_read_only_without_a_root_and_a_user_of_its_own(
    transactional_db: None, standing: str | None
) -> None:
    secret = Path(settings.PORTICO_DATA, "only-for-the-portal")
    secret.write_text("secret")
    secret.chmod(0o600)
    with without("private_root", *(["own_user"] if standing is None else [])):
        answer = str(Worker(space_of("fresh")).ask("open('/srv/only-for-the-portal').read()"))
        assert answer == "secret" if standing is None else "PermissionError" in answer


def test_without_its_namespaces_it_sees_the_machines(transactional_db: None) -> None:
    """The very attacks of `test_isolation`."""
    with without("ipc_namespace", "cgroup_namespace"), machine_memory() as key:
        for worker in both_ways():
            assert worker.do(ATTACH.format(key)) == "attached"
            assert any("portico-" in group for group in cgroups_seen(worker))


FILES = ("read_only", "own_user", "landlock")


@pytest.mark.parametrize("standing", [None, "own_user", "landlock"])
def test_an_environment_is_poisoned_only_without_three_walls(transactional_db: None, standing: str | None) -> None:
    """And the kernel's settings are in reach only without a user of its own and the cover of /proc."""
    with without("proc_cover", *(name for name in FILES if name != standing)):
        # Started afresh, with an Environment: the variable is one that libraries read when they are imported.
        from apps.spaces.models import SpaceVariable

        space = sleeping_space(SPY, environment=bare_environment())
        SpaceVariable.objects.create(space=space, key="HF_ENDPOINT", value="x")
        worker = Worker(space)
        poison = worker.ask(f"open({ENVIRONMENT_FILE!r}, 'r+').close() or 'opened'")
        assert (poison == "opened") == (standing is None), poison
        assert (worker.ask(CORE_PATTERN) == "opened") == (standing != "own_user")


HOLD = """
import resource, socket
def count(make, most):
    held = []
    try:
        while len(held) < most:
            held.append(make())
    except OSError as error:
        pass
    return len(held)
"""
FILES_OPENED = HOLD + "found = count(lambda: open('/dev/null'), 6000)"
SOCKETS_OPENED = HOLD + "found = count(socket.socket, 6000)"
INOTIFY = (
    HOLD + "import ctypes; c = ctypes.CDLL(None)\ndef make():\n    n = c.inotify_init()\n    if n < 0: raise OSError\n"
)
INOTIFY += "    return open(n)\nfound = count(make, 20)"
DISK = """
found = 0
try:
    for n in range(24):
        with open(f"/tmp/big{n}", "wb") as file:
            file.write(bytes(2**20))
        found += 1
except OSError:
    pass
for n in range(24):
    if os.path.exists(f"/tmp/big{n}"): os.unlink(f"/tmp/big{n}")
"""
FORKS = """
import signal
children = []
try:
    for _ in range(60):
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        children.append(pid)
except OSError:
    pass
for pid in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
found = len(children)
"""
SOCKETS = """
import socket
server = socket.create_server(("127.0.0.1", 0))
held, found = [], 0
for _ in range(20):
    a = socket.create_connection(server.getsockname())
    held += [a, server.accept()[0]]
    a.setblocking(False)
    try:
        while True:
            found += a.send(bytes(65536))
    except BlockingIOError:
        pass
found >>= 20
"""
MEMORY = (
    "import mmap\nheld = mmap.mmap(-1, 260 * 2**20)\nfor n in range(0, len(held), 4096): held[n] = 1\nfound = 'held'"
)
LOG = "for _ in range(700): sys.stdout.write('x' * 4095 + '\\n')\nfound = 1"


def burns(way: str) -> tuple[int, float]:
    """How often the kernel held back a Space that may use a fifth of a processor and asks for all, and the seconds of
    processor time that it had got by then."""
    space = space_of(way)
    plan, _ = Plan.objects.get_or_create(slug="slow", defaults={"name": "Slow", "cpus": 0.2})
    plans.choose_plan(space, plan.slug)
    worker = Worker(space)
    assert worker.do(BURN) == "burning"
    groups = [line.split(":", 2) for line in Path(f"/proc/{worker.init}/cgroup").read_text().splitlines()]
    own = {controllers: path.lstrip("/") for _, controllers, path in groups}
    folder = Path("/sys/fs/cgroup/cpu", own["cpu"]) if "cpu" in own else Path("/sys/fs/cgroup", own[""])

    def stat() -> dict[str, int]:
        return {key: int(value) for key, value in map(str.split, (folder / "cpu.stat").read_text().splitlines())}

    def used() -> float:
        workers = asyncio.run(client.agent_status())["workers"]
        return next(float(w["cpu_seconds"]) for w in workers if w["space"] == space.pk)

    before = used()
    wait_until(lambda: stat().get("nr_throttled", 0) > 2 or used() - before > 1)
    found = stat().get("nr_throttled", 0), used() - before
    asyncio.run(client.stop_worker(space.pk))
    return found


def outlives(ways: Sequence[str]) -> list[int]:
    """What is left of workers that ignore SIGTERM and have a daemon, once they were stopped. It is ended."""
    seconds = new_seconds()
    spaces = [space_of(way, STUBBORN) for way in ways]
    for space in spaces:
        assert Worker(space).do(DAEMON.format(seconds=seconds)) == 0
    wait_until(lambda: len(sleepers(seconds)) == len(ways))

    async def stop() -> None:
        await asyncio.gather(*(client.stop_worker(space.pk) for space in spaces), return_exceptions=True)

    asyncio.run(stop())
    left = sleepers(seconds)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return left


ZYGOTE_ATTACK = """
import ctypes, os
c = ctypes.CDLL(None, use_errno=True)
os.write(2, b"personality %d\\n" % c.syscall(135, 0xffffffff))
os.write(2, os.readlink("/proc/self/fd/2").encode() + b" is its output\\n")
for _ in range(3000):
    os.write(2, b"x" * 999 + b"\\n")
"""


def attack_from_within_a_zygote(agent: RunningAgent) -> tuple[bool, int]:
    """Whether seccomp refused a package in a zygote, and by how much it made the agent's log grow."""
    before = agent.log.stat().st_size
    ensure(sleeping_space(SPY, environment=bare_environment("attack", gradio=ZYGOTE_ATTACK)))
    wait_until(lambda: "is its output" in agent.log.read_text(errors="replace"), seconds=10)
    asyncio.run(asyncio.sleep(0.5))
    said = agent.log.read_bytes()[before:].decode(errors="replace")
    assert "pipe:[" in said, "not the agent's own output"
    return "personality -1" in said, len(said)


EVERYTHING = (
    "memory", "processes", "cpu", "disk", "rlimits", "inotify", "log_bound", "descriptors", "pid_namespace", "seccomp",
    "insisting", "group_kill",
)  # fmt: skip


@pytest.mark.parametrize("gone", [False, True])
def test_resources_are_bounded_by_their_walls_alone(transactional_db: None, gone: bool) -> None:
    """A little more than is allowed is asked for, so that this machine bears it when nothing stops it."""
    with without(*(EVERYTHING if gone else ())) as agent:
        for way in WAYS:
            space = space_of(way)
            worker = Worker(space)
            assert refused(worker.ask(PERSONALITY)) == (not gone)
            assert (worker.do(FILES_OPENED) == 6000) == gone
            assert (worker.do(SOCKETS_OPENED) == 6000) == gone
            assert (worker.do(INOTIFY) == 20) == gone
            assert (worker.do(DISK) == 24) == gone
            assert (worker.do(FORKS) == 60) == gone
            if IN_SOCKETS_APART:
                in_sockets = worker.do(SOCKETS)
                assert isinstance(in_sockets, int)
                assert (in_sockets > 40) == gone, in_sockets
            core, real_time = worker.ask("[__import__('resource').getrlimit(n) for n in (4, 14)]")  # type: ignore[misc]
            assert (core == [1, 1]) == (not gone)
            assert real_time == [0, 0]
            if way == "fresh":
                assert (int(str(worker.ask("len([n for n in os.listdir('/proc') if n.isdigit()])"))) > 4) == gone
            else:
                assert (int(str(worker.ask("len(open_files)"))) > 3) == gone
            assert worker.do(LOG) == 1
            if gone:
                assert worker.do(MEMORY) == "held"
            else:
                with pytest.raises((AssertionError, OSError, TimeoutError)):
                    worker.do(MEMORY)
            wait_until(lambda pk=space.pk: read_log(pk, "run")[2] > MIB / 2)  # type: ignore[misc]
            asyncio.run(client.stop_worker(space.pk))
            held_back, used = burns(way)
            assert (held_back, used > 1) == (0, True) if gone else held_back > 0
            assert (read_log(space.pk, "run")[2] > 2 * MIB) == gone
        held, said = attack_from_within_a_zygote(agent)
        assert held == (not gone)
        assert (said > 1.5 * MIB) == gone
        assert (outlives(("forked",) if gone else WAYS) != []) == gone
