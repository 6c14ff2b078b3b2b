"""A node's zygotes: bounded while they import, ended when nobody uses them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from django.conf import settings

from apps.runtime.sdks import zygote_environment
from apps.runtime.zygote import pool as pools
from apps.runtime.zygote.births import BirthFailed
from apps.runtime.zygote.pool import Pool, Zygote
from apps.sandbox import cgroups
from apps.sandbox.egress.node import Egress
from apps.sandbox.interpreters import default_interpreter
from tests.running_agent import bare_environment
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root forks workers"),
]

HOOK = """
import atexit, os, time
forked = []
os.register_at_fork(after_in_child=lambda: forked.append(True))
atexit.register(lambda: forked and time.sleep(60))
"""


@contextlib.asynccontextmanager
async def pool_of_its_own() -> AsyncIterator[Pool]:
    hierarchy = cgroups.find(f"portico-test-{os.getpid()}")
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o755)
        found = Pool(hierarchy, Path(scratch), Egress(wanted=False), lambda _: asyncio.sleep(0, frozenset()))
        try:
            yield found
        finally:
            await found.end()
            hierarchy.remove()


async def zygote_of(pool: Pool, folder: Path) -> Zygote:
    return await pool.get(folder, default_interpreter(), zygote_environment())


def folder_of(name: str, **modules: str) -> Path:
    return Path(settings.PORTICO_DATA, "environments", bare_environment(name, **modules).key)


def processes_with(folder: Path) -> list[str]:
    """Of this machine, those that have the Environment mounted."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str(folder) in (entry / "mountinfo").read_text():
                found.append(entry.name)
    return found


def test_an_unused_zygote_is_ended() -> None:
    folder = folder_of("unused", gradio="")

    async def main() -> None:
        async with pool_of_its_own() as pool:
            zygote = await zygote_of(pool, folder)
            await pool.tidy(zygote_environment())
            assert zygote.is_alive
            zygote.used_at -= pools.UNUSED_SECONDS + 1
            await pool.tidy(zygote_environment())
            assert not zygote.is_alive
            assert await zygote_of(pool, folder) is not zygote, "another one, when it is needed again"

    asyncio.run(main())
    wait_until(lambda: not processes_with(folder), seconds=10)


def test_a_spare_child_that_is_not_wanted_any_more_just_ends() -> None:
    folder = folder_of("retired", gradio=HOOK)

    async def main() -> None:
        async with pool_of_its_own() as pool:
            zygote = await zygote_of(pool, folder)
            birth = zygote.birth()
            await birth.until_outside()
            birth.give_up()
            assert birth.cgroup is not None
            for _ in range(100):
                if not birth.cgroup.pids():
                    return
                await asyncio.sleep(0.05)
            pytest.fail("hooks of its packages hold it")

    asyncio.run(main())


def test_a_zygote_that_dies_while_it_is_asked_for_a_child_is_known_to_be_dead() -> None:
    folder = folder_of("dies asked", gradio="")

    async def main() -> None:
        async with pool_of_its_own() as pool:
            zygote = await zygote_of(pool, folder)
            await zygote.birth().until_outside()  # the spare one: the next has to be made
            process = the_zygote_of(folder)
            os.kill(process, signal.SIGSTOP)
            asked = zygote.birth()
            os.kill(process, signal.SIGKILL)
            with pytest.raises(BirthFailed):
                await asked.until_outside()
            assert not zygote.is_alive
            successor = await zygote_of(pool, folder)
            assert successor is not zygote and successor.is_alive

    asyncio.run(main())


def the_zygote_of(folder: Path) -> int:
    """Of the processes with its command, the one that the others came from."""
    commands = {int(pid): Path("/proc", pid, "cmdline").read_bytes() for pid in processes_with(folder)}
    return min(pid for pid, command in commands.items() if b"zygote.py" in command and b"nursery.py" not in command)


def test_what_a_zygote_imports_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "PRELOAD_BYTES", 1)
    folder = folder_of("bounded", gradio="", httpx="")

    async def main() -> None:
        async with pool_of_its_own() as pool:
            report = (await zygote_of(pool, folder)).report
            assert report["imported"] == {}
            assert report["skipped"]["gradio"] == "the zygote is large enough"

    asyncio.run(main())
