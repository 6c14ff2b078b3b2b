"""What version 2 of control groups does for a sandbox, tried where it is; prints JSON. Run by `test_version_2.py`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apps.sandbox import cgroups, launch
from apps.sandbox.bubblewrap import Sandbox
from tests.sandbox.bombs import ENDLESS_FORKS

MIB = 1024**2
LIMITS = cgroups.Limits(memory_bytes=64 * MIB, processes=20, cpus=0.2, disk_bytes=8 * MIB)
NAME = "portico-test"


@contextmanager
def sandboxed(code: str, limits: cgroups.Limits = LIMITS) -> Iterator[tuple[subprocess.Popen[bytes], cgroups.Cgroup]]:
    """Python code in a sandbox and in a group; it runs while the block does."""
    hierarchy = cgroups.find(NAME)
    group = hierarchy.create("one", limits)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-I", "-S", "-c", code]
        python = Path(sys.base_prefix)
        process = launch.start(
            Sandbox(read_only=((python, str(python)),)),
            [str(Path(sys.executable).resolve()), *command[1:]],
            limits=limits, cgroup=group, scratch=launch.Scratch(Path(folder), limits.disk_bytes),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield process, group
        finally:
            group.remove()
            process.wait()
            hierarchy.remove()


def memory() -> None:
    with sandboxed("held = [bytearray(2**20) for _ in range(200)]") as (process, group):
        process.communicate()
        assert process.returncode != 0
        assert group.out_of_memory_kills() > 0, "told from a crash"
    with sandboxed("held = [bytearray(2**20) for _ in range(20)]; print(len(held))") as (process, group):
        assert process.communicate()[0] == b"20\n"
        assert group.out_of_memory_kills() == 0


FORKS = """
import os, signal
made = 0
try:
    while made < 60:
        if os.fork() == 0:
            signal.pause()
        made += 1
except OSError:
    pass
print(made, flush=True)
signal.pause()
"""


def processes() -> None:
    with sandboxed(FORKS) as (process, group):
        assert process.stdout is not None
        assert 5 < int(process.stdout.readline()) < 20
        assert len(group.pids()) <= 20


def processor() -> None:
    with sandboxed("import os\nwhile os.times().user < 0.3: pass") as (process, group):
        process.communicate()
        used = group.cpu_seconds()
        assert used is not None and used > 0.3
        stat = dict(line.split() for line in (group.folders["cpu"] / "cpu.stat").read_text().splitlines())
        assert int(stat["nr_throttled"]) > 0


DYING_SECONDS = 20
"""For what was killed to leave its group: dying too takes processor time, of which it has a fifth. What still forked
would never leave."""
BOMB = 'import os\nprint("ready", flush=True)\n' + ENDLESS_FORKS


def killing() -> None:
    """All of it at once, what is just being forked as well, and nothing is left."""
    with sandboxed(BOMB) as (process, group):
        assert process.stdout is not None
        process.stdout.readline()
        found = cgroups.find(NAME).groups()
        assert list(found) == ["one"], "as an agent finds it after a crash"
        assert cgroups.named(NAME[:-1]) == {NAME}, "as a task worker finds builds that died"
        found["one"].kill()
        deadline = time.monotonic() + DYING_SECONDS
        while group.pids() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert group.pids() == set()
    assert not Path("/sys/fs/cgroup", NAME).exists()


def changing() -> None:
    """Other limits for a group that is in use, as for a child that was forked before its Space was known."""
    hierarchy = cgroups.find(NAME)
    group = hierarchy.create("one", None)
    hierarchy.limit(group, LIMITS)
    hierarchy.limit(group, cgroups.Limits(memory_bytes=128 * MIB, processes=40, cpus=1.5, disk_bytes=MIB))
    folder = group.folders["memory"]
    told = [(folder / name).read_text().strip() for name in ("memory.max", "memory.oom.group", "pids.max", "cpu.max")]
    assert told == [str(128 * MIB), "1", "40", "150000 100000"], told
    group.remove()
    hierarchy.remove()


def main() -> None:
    found = {}
    for trial in (memory, processes, processor, killing, changing):
        try:
            trial()
            found[trial.__name__] = ""
        except BaseException:
            found[trial.__name__] = traceback.format_exc()
    hierarchy = cgroups.find(NAME)
    found["hierarchy"] = f"{hierarchy.version} {' '.join(hierarchy.folders)} {hierarchy.reason}".strip()
    hierarchy.remove()
    print("FOUND " + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
