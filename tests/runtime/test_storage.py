"""What a Space keeps at `/data`: over restarts, sleeps and crashes, within its quota, and for nobody else."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from urllib.parse import quote

import pytest

from apps.runtime import client
from apps.runtime.models import Storage, Worker
from apps.runtime.storage import image_of
from apps.spaces import plans
from apps.spaces.logs import read_log
from apps.spaces.models import Plan, Space, Stage
from apps.spaces.services import delete_space, empty_storage, pause_space, rename_space
from tests.running_agent import (
    RunningAgent,
    bare_environment,
    deploy,
    ensure,
    fetch,
    sleeping_space,
    stage_of,
)
from tests.runtime.keepers import KEEPER, MIB, ask, keeping, loop_devices, restart, stop
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount what a Space keeps"),
]

WRITE, LIST = "pathlib.Path('/data/x').write_text('')", "os.listdir('/data')"


@pytest.mark.parametrize("way", ["fork", "fresh"])
def test_what_it_writes_is_there_after_a_sleep_a_restart_a_redeploy_and_a_rename(agent: RunningAgent, way: str) -> None:
    space = keeping(way=way)
    assert ask(space, "os.listdir('/data')") == []
    assert ask(space, "pathlib.Path('/data/kept').write_text('here')") == 4
    assert Worker.objects.filter(space=space).latest("started_at").spawner_state["way"] == way
    stop(space)
    assert str(image_of(space.repository)) not in loop_devices()
    assert ask(space, "pathlib.Path('/data/kept').read_text()") == "here"
    restart(space)
    assert ask(space, "pathlib.Path('/data/kept').read_text()") == "here"
    deploy(space, KEEPER.replace("hello", "changed"), environment=bare_environment() if way == "fork" else None)
    restart(space)
    assert fetch(ensure(space)) == "changed"
    rename_space(space, "renamed")
    assert ask(space, "pathlib.Path('/data/kept').read_text()") == "here"


@pytest.mark.parametrize("way", ["fork", "fresh"])
def test_a_space_may_fill_only_its_quota(agent: RunningAgent, way: str) -> None:
    space = keeping(32, way=way, disk_bytes=16 * MIB)
    told, written = ask(space, "fill('/data/big', 100)")
    assert told == "ENOSPC" and 16 < written < 32, "more than its temporary disk, less than the quota"
    assert image_of(space.repository).stat().st_size == 32 * MIB
    assert ask(space, "fill('/tmp/big', 100)")[0] == "ENOSPC"
    assert ask(space, "os.unlink('/data/big')") is None
    assert ask(space, "fill('/data/again', 16)") == ["written", 16]


@pytest.mark.parametrize("way", ["fork", "fresh"])
def test_nothing_in_it_is_a_device_or_gains_rights_and_it_is_its_own_user_s(agent: RunningAgent, way: str) -> None:
    space = keeping(way=way)
    options = ask(space, "[line.split()[3] for line in open('/proc/mounts') if '/data ' in line]")
    assert len(options) == 1 and {"rw", "nosuid", "nodev"} <= set(options[0].split(","))
    assert ask(space, "[os.stat('/data').st_uid, os.stat('/data').st_gid, oct(os.stat('/data').st_mode)]") == [
        1000, 1000, "0o40755",
    ]  # fmt: skip
    assert "PermissionError" in ask(space, "os.mknod('/data/disk', 0o60666, os.makedev(7, 0))")
    assert "Error" in ask(space, "open('/mnt/elsewhere', 'w')") or way == "fresh"
    other = keeping(way=way)
    ask(space, "pathlib.Path('/data/secret').write_text('mine')")
    assert ask(other, "os.listdir('/data')") == []


@pytest.mark.parametrize("way", ["fork", "fresh"])
def test_without_storage_there_is_no_such_folder(agent: RunningAgent, way: str) -> None:
    space = sleeping_space(KEEPER, environment=bare_environment() if way == "fork" else None)
    assert ask(space, "[os.path.exists('/data'), os.path.isdir('/data')]") == [False, False]
    assert not Storage.objects.filter(space=space).exists()
    assert not image_of(space.repository).exists()


def test_an_old_and_a_new_worker_see_the_same_files(agent: RunningAgent) -> None:
    space = keeping()
    old = ensure(space)
    asyncio.run(client.restart_worker(space.pk))
    new = wait_until(lambda: (found := ensure(space)).id != old.id and found)
    fetch(old, f"/?eval={quote(WRITE)}")
    assert json.loads(fetch(new, f"/?eval={quote(LIST)}")) == ["x"]
    assert loop_devices().count(space.repository.hex) == 1


def test_a_larger_quota_is_there_after_a_restart_and_a_smaller_one_holds(agent: RunningAgent) -> None:
    space = keeping(32)
    ask(space, "fill('/data/big', 20)")
    large = keeping(96).plan
    assert large is not None
    plans.choose_plan(space, large.slug)
    restart(space)
    assert ask(space, "fill('/data/more', 50)") == ["written", 50]
    Plan.objects.filter(pk=large.pk).update(storage_bytes=64 * MIB)
    restart(space)
    assert ask(space, "sorted(os.listdir('/data'))") == ["big", "more"], "nothing is lost"
    assert ask(space, "fill('/data/yet', 20)")[0] == "ENOSPC"
    ask(space, "[os.unlink('/data/more'), os.unlink('/data/yet')]")
    told, written = ask(space, "fill('/data/yet', 100)")
    assert (told, 30 < written < 44) == ("ENOSPC", True), "the new quota, the files of before counted"


def test_it_is_deleted_with_its_space(agent: RunningAgent) -> None:
    space = keeping()
    ensure(space)
    image = image_of(space.repository)
    assert image.exists() and Storage.objects.get().space_id == space.pk
    asyncio.run(client.stop_worker(space.pk))
    space_id = space.pk
    delete_space(space)
    assert Storage.objects.get().space is None, "remembered until its node has deleted it"
    asyncio.run(client.stop_worker(space_id))
    asyncio.run(client.clear_storage())
    assert not image.exists()
    assert not Storage.objects.exists()


def test_it_is_emptied_and_the_space_goes_on(agent: RunningAgent) -> None:
    space = keeping()
    ask(space, "fill('/data/big', 4)")
    former = ensure(space).id
    empty_storage(space)
    asyncio.run(client.empty_storage(space.pk))
    assert not Storage.objects.filter(space=space, is_to_be_emptied=True).exists()
    assert ask(space, "os.listdir('/data')") == []
    assert ensure(space).id != former
    assert Worker.objects.get(pk=former).end_reason == "What it keeps at /data is deleted, as its owner asked."
    assert "What it keeps at /data is deleted, as its owner asked." in read_log(space.pk, "run")[1].decode()
    assert ask(space, "pathlib.Path('/data/kept').write_text('new')") == 3
    asyncio.run(client.empty_storage(space.pk))
    assert ask(space, "os.listdir('/data')") == ["kept"], "a message that comes twice empties once"


def test_a_paused_space_stays_paused_when_it_is_emptied(agent: RunningAgent) -> None:
    space = keeping()
    ensure(space)
    pause_space(space)
    asyncio.run(client.stop_worker(space.pk))
    empty_storage(space)
    asyncio.run(client.empty_storage(space.pk))
    assert not image_of(space.repository).exists()
    assert not Worker.objects.exclude(state=Worker.State.ENDED).exists()
    assert stage_of(space) == Stage.PAUSED


def test_a_damaged_file_system_is_mended_or_told_and_never_overwritten(agent: RunningAgent) -> None:
    space = keeping(300)  # large enough for a second superblock
    ask(space, "fill('/data/big', 4)")
    stop(space)
    image = image_of(space.repository)
    with image.open("r+b") as file:
        file.seek(1024)
        file.write(bytes(1024))
    with pytest.raises(client.StartRefused, match=r"What it keeps at /data cannot be used: its file system is damaged"):
        ensure(space)
    assert stage_of(space) == Stage.RUNTIME_ERROR
    asyncio.run(client.stop_worker(space.pk))
    subprocess.run(["e2fsck", "-y", "-f", str(image)], capture_output=True, check=False)
    Space.objects.filter(pk=space.pk).update(stage=Stage.SLEEPING)
    assert ask(space, "os.path.getsize('/data/big')") == 4 * MIB


def test_it_does_not_start_where_its_storage_cannot_be_had(agent: RunningAgent) -> None:
    space = keeping()
    ensure(space)
    stop(space)
    Storage.objects.update(node="elsewhere")
    with pytest.raises(client.StartRefused, match="is on the node elsewhere, and it cannot run elsewhere"):
        ensure(space)
    assert stage_of(space) == Stage.RUNTIME_ERROR
