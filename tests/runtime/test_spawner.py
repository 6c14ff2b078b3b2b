"""What `apps.runtime.spawner` promises of every spawner, held against each of them."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from django.conf import settings

from apps.runtime import sdks
from apps.runtime.spawner import BubblewrapSpawner, Exit, Spawner, SpawnFailed, WorkerSpec
from apps.runtime.zygote.pool import Pool
from apps.runtime.zygote.spawner import ForkSpawner
from apps.sandbox import cgroups
from apps.sandbox.bubblewrap import ENVIRONMENT
from apps.sandbox.cgroups import Hierarchy, Limits
from apps.sandbox.egress.node import Egress
from apps.sandbox.interpreters import default_interpreter
from tests.running_agent import bare_environment, processes_mentioning
from tests.waiting import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has zygotes, and control groups here"),
]
WELL_BEHAVED = """
import json, os, signal, socket, sys
print(json.dumps([dict(os.environ), os.listdir("/proc/self/fd")]), flush=True)
def bye(*_):
    print("bye", flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, bye)
server = socket.create_server(("127.0.0.1", 7860))
while True:
    server.accept()[0].sendall(b"hello")
"""
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000) # {mark}"], start_new_session=True)
print("here", flush=True)
time.sleep(1000)
"""


class Node:
    """Where spawners of one kind start `app`, which prints to `output`."""

    def __init__(
        self, folder: Path, environment: Path, hierarchy: Hierarchy, make: Callable[[WorkerSpec], Spawner]
    ) -> None:
        self.folder, self.environment, self.hierarchy, self.make = folder, environment, hierarchy, make

    async def start(self, app: str, *, memory_mib: int = 256) -> Spawner:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "app.py").write_text(app)
        spawner = self.make(self.spec(memory_mib))
        with self.output.open("wb") as output:
            await spawner.start(output.fileno())
        return spawner

    def spec(self, memory_mib: int) -> WorkerSpec:
        return WorkerSpec(
            worker_id=uuid.uuid4(), space_id=1, deployment_folder=self.folder, environment_folder=self.environment,
            interpreter=default_interpreter(), argv=(f"{ENVIRONMENT}/bin/python", "app.py"),
            environment={**sdks.zygote_environment(), "ITS_OWN": "1"}, port=7860, health_path="/", startup_seconds=60,
            limits=Limits(memory_bytes=memory_mib * 2**20, processes=64, cpus=2.0, disk_bytes=2**24),
        )  # fmt: skip

    @property
    def output(self) -> Path:
        return self.folder.with_suffix(".log")

    def has_nothing_of(self, spawner: Spawner) -> bool:
        """Whether no process and no control group is left of what it started."""
        state = spawner.get_state()
        words = Path(f"/proc/{state['pid']}/cmdline")  # empty where nobody has asked yet how it ended
        return state["cgroup"] not in self.hierarchy.groups() and not (words.exists() and words.read_bytes())


@pytest.fixture
def environment(db: None) -> Path:
    return Path(settings.PORTICO_DATA) / "environments" / bare_environment().key


@pytest.fixture(params=[BubblewrapSpawner, ForkSpawner])
async def node(request: pytest.FixtureRequest, tmp_path: Path, environment: Path) -> AsyncIterator[Node]:
    name = f"portico-spawner-{secrets.token_hex(4)}"
    hierarchy = cgroups.find(name)
    scratch = Path("/run", name)  # as the agent's: everybody may enter
    scratch.mkdir()
    scratch.chmod(0o755)
    pool = Pool(hierarchy, scratch, Egress(wanted=False), lambda _: asyncio.sleep(0, frozenset()))
    try:
        if request.param is BubblewrapSpawner:
            yield Node(
                tmp_path / "app", environment, hierarchy,
                lambda spec: BubblewrapSpawner(spec, hierarchy, scratch, pool.egress),
            )  # fmt: skip
        else:
            zygote = await pool.get(environment, default_interpreter(), sdks.zygote_environment())
            yield Node(tmp_path / "app", environment, hierarchy, lambda spec: ForkSpawner(spec, hierarchy, zygote))
    finally:
        await pool.end()
        hierarchy.clear()
        hierarchy.remove()
        scratch.rmdir()


async def test_it_runs_with_what_its_spec_says_and_may_say_goodbye(node: Node) -> None:
    spawner = await node.start(WELL_BEHAVED)
    await until(lambda: spawner.listening_ports() == {7860})
    environment, descriptors = json.loads(node.output.read_text())
    assert environment.items() >= spawner.spec.environment.items()
    assert environment.keys() - spawner.spec.environment.keys() <= {"PWD", "LC_CTYPE"}
    assert set(descriptors) <= {"0", "1", "2", "3"}  # 3 is the folder as it is listed
    assert await spawner.poll() is None
    assert (spawner.usage()["memory_bytes"] or 0) > 2**20
    (channel,) = await asyncio.to_thread(spawner.open_sockets, 1)
    with channel:
        await asyncio.get_running_loop().sock_connect(channel, ("127.0.0.1", 7860))
        assert await asyncio.get_running_loop().sock_recv(channel, 100) == b"hello"
    await spawner.stop(30)
    assert "bye" in node.output.read_text()
    assert await spawner.wait() == await spawner.poll() == Exit(code=0)
    assert node.has_nothing_of(spawner)
    assert spawner.listening_ports() == set()
    with pytest.raises(OSError):
        spawner.open_sockets(1)
    await spawner.stop(1)


@pytest.mark.parametrize(
    ("app", "how"),
    [("raise SystemExit(7)", Exit(code=7)), ("import os\nos.abort()", Exit(signal=signal.SIGABRT))],
)
async def test_how_it_ended_is_told_and_it_may_be_stopped_after_that(node: Node, app: str, how: Exit) -> None:
    spawner = await node.start(app)
    assert await asyncio.wait_for(spawner.wait(), 30) == await spawner.poll() == how
    for _ in range(2):
        await spawner.stop(1)
        assert node.has_nothing_of(spawner)
        assert await spawner.poll() == how


async def test_an_end_for_want_of_memory_is_told_from_a_crash(node: Node) -> None:
    spawner = await node.start("held = []\nwhile True:\n    held.append(bytearray(2**20))\n", memory_mib=64)
    assert (await asyncio.wait_for(spawner.wait(), 60)).out_of_memory
    await spawner.stop(0)
    assert node.has_nothing_of(spawner)


@pytest.mark.parametrize("grace_seconds", [0, 0.3])
async def test_what_does_not_listen_to_being_asked_is_ended_with_all_it_started(
    node: Node, grace_seconds: float
) -> None:
    mark = secrets.token_hex(8)
    spawner = await node.start(STUBBORN.format(mark=mark))
    await until(lambda: "here" in node.output.read_text() and processes_mentioning(mark))
    await spawner.stop(grace_seconds)
    assert processes_mentioning(mark) == []
    assert node.has_nothing_of(spawner)
    assert (await spawner.wait()).signal == signal.SIGKILL


async def test_a_later_agent_finds_and_ends_it_by_its_state(node: Node) -> None:
    mark = secrets.token_hex(8)
    spawner = await node.start(STUBBORN.format(mark=mark))
    await until(lambda: processes_mentioning(mark))
    later = node.make(spawner.spec)
    later.load_state(json.loads(json.dumps(spawner.get_state())))
    await later.stop(0)
    await until(lambda: not processes_mentioning(mark))
    await asyncio.wait_for(spawner.wait(), 30)
    await spawner.stop(0)
    assert node.has_nothing_of(spawner)


async def test_nothing_is_left_of_what_could_not_be_started(node: Node) -> None:
    spawner = node.make(node.spec(256))  # its folder is not there
    with node.output.open("wb") as output, pytest.raises(SpawnFailed):
        await spawner.start(output.fileno())
    assert node.has_nothing_of(spawner)
    await spawner.stop(1)
