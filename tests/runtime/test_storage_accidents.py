"""What a Space keeps when things go wrong under it: a killed agent, a machine without loop devices, a full disk."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest

from apps.runtime import client
from apps.runtime.models import Storage
from apps.runtime.storage import image_of
from apps.sandbox.volumes import Volume, VolumeError
from apps.spaces.models import Space, Stage
from apps.spaces.services import empty_storage
from tests.running_agent import AGENT, RunningAgent, ensure, fetch, sleeping_space, stage_of
from tests.runtime.keepers import MIB, ask, keeping, loop_devices
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount what a Space keeps"),
]


def test_a_killed_agent_leaves_no_mount_and_no_device_and_the_files_are_there(transactional_db: None) -> None:
    """But for those that their owner had deleted meanwhile."""
    with RunningAgent() as agent:
        space, emptied = keeping(), keeping()
        ask(space, "fill('/data/big', 8)")
        ask(emptied, "fill('/data/big', 8)")
        before = Path("/proc/mounts").read_text()
        assert space.repository.hex not in before
        assert space.repository.hex in loop_devices()
        agent.stop(signal.SIGKILL)
        wait_until(lambda: space.repository.hex not in loop_devices(), seconds=10)
        assert Path("/proc/mounts").read_text() == before
        empty_storage(emptied)
        agent.start()
        assert ask(space, "os.path.getsize('/data/big')") == 8 * MIB
        wait_until(lambda: not Storage.objects.filter(space=emptied).exists())
        assert not image_of(emptied.repository).exists()
        assert stage_of(emptied) == Stage.SLEEPING
        assert ask(space, "fill('/data/more', 8)") == ["written", 8]
        assert agent.stop() == 0
        assert space.repository.hex not in loop_devices()
        assert Storage.objects.get().used_bytes > 16 * MIB, "measured as it ended"


def test_a_machine_that_cannot_keep_files_refuses_to_start(transactional_db: None) -> None:
    """An agent without loop devices, as in many containers."""
    hidden = ["unshare", "-m", "sh", "-c", 'mount --bind /dev/null /dev/loop-control && exec "$@"', "sh"]
    with RunningAgent([*hidden, *AGENT]):
        space, other = keeping(), sleeping_space()
        with pytest.raises(client.StartRefused, match=r"keeps files at /data, which this machine cannot do"):
            ensure(space)
        assert "would be lost" in Space.objects.get(pk=space.pk).stage_message
        assert not image_of(space.repository).exists()
        assert fetch(ensure(other)) == "hello"
        capability = wait_until(lambda: asyncio.run(client.agent_status())["capabilities"].get("storage"))
        assert not capability["ok"]


def test_two_processes_never_use_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.sandbox.volumes.RELEASE_SECONDS", 0.2)
    first = Volume(tmp_path / "one.img", 16 * MIB, 0)
    try:
        with pytest.raises(VolumeError, match="something else on this machine still uses it"):
            Volume(tmp_path / "one.img", 16 * MIB, 0)
    finally:
        first.close()
    Volume(tmp_path / "one.img", 16 * MIB, 0).close()


def test_half_an_image_is_never_used(tmp_path: Path) -> None:
    (tmp_path / "one.part").write_bytes(b"from a start that was broken off")
    volume = Volume(tmp_path / "one.img", 16 * MIB, 0)
    assert volume.usage()[0] < MIB
    volume.close()
    assert [p.name for p in tmp_path.iterdir()] == ["one.img"]


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """A host disk of 32 MiB, in memory."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(tmp_path)], check=True)
    try:
        with pytest.raises(VolumeError, match=r"disk is full \(32 MiB are free, 256 are needed\)"):
            Volume(tmp_path / "one.img", 64 * MIB, 0)
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
