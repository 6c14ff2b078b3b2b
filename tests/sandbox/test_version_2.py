"""Version 2 of control groups, on machines with version 1 too: in Debian's kernel, on a processor that is a program."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNEL = Path(sys.prefix) / "kernel"  # unpacked there by `scripts/setup.sh test`
MACHINE = "qemu-system-x86_64"
BOOT_SECONDS = 300
# What the kernel needs to see this machine's files, each after what it depends on.
MODULES = (
    "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
    "netfs", "fscache", "9pnet", "9pnet_virtio", "9p",
)  # fmt: skip

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the kernel is that of x86-64"),
    pytest.mark.skipif(
        os.geteuid() != 0, reason="the kernel's first process sees what the user who starts it may read"
    ),
]
FIRST = """#!/bin/busybox sh
for module in {modules}; do /bin/busybox insmod /modules/$module.ko; done
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 host /host
exec /bin/busybox switch_root /host {init}
"""
INIT = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /run; mount -t devtmpfs dev /dev
mount -t cgroup2 none /sys/fs/cgroup
export TMPDIR=/run PYTHONPATH={root} PYTHONDONTWRITEBYTECODE=1 PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd {root} && {python} -m tests.sandbox.version_2
echo o > /proc/sysrq-trigger; sleep 60
"""


def _first_files(folder: Path, init: Path) -> Path:
    """The archive of files that the kernel starts from (its initramfs): it mounts this machine's and goes on there."""
    root = folder / "first"
    for name in ("bin", "modules", "host"):
        (root / name).mkdir(parents=True)
    shutil.copy(KERNEL / "bin" / "busybox", root / "bin")
    for module in MODULES:
        (found,) = KERNEL.glob(f"lib/modules/*/kernel/**/{module}.ko")
        shutil.copy(found, root / "modules")
    (root / "init").write_text(FIRST.format(modules=" ".join(MODULES), init=init))
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in root.rglob("*"))
    packed = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names.encode(), stdout=subprocess.PIPE, check=True
    )
    archive = folder / "initramfs"
    archive.write_bytes(packed.stdout)
    return archive


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `version_2.py` said there. The kernel sees this machine's files, read-only."""
    assert KERNEL.is_dir() and shutil.which(MACHINE), "run `scripts/setup.sh test` as root"
    folder = tmp_path_factory.mktemp("kernel")
    init = folder / "init"
    init.write_text(INIT.format(root=ROOT, python=sys.executable))
    init.chmod(0o755)
    (image,) = KERNEL.glob("boot/vmlinuz-*")
    command = [
        MACHINE, "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1024", "-nodefaults", "-nographic", "-no-reboot",
        "-serial", "stdio", "-kernel", str(image), "-initrd", str(_first_files(folder, init)),
        "-append", "console=ttyS0 quiet panic=-1",
        "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
    ]  # fmt: skip
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=BOOT_SECONDS, check=False,
    )  # fmt: skip
    said = done.stdout.decode(errors="replace")
    assert "FOUND " in said, said[-3000:]
    told: dict[str, str] = json.loads(said.partition("FOUND ")[2].splitlines()[0])
    return told


@pytest.mark.parametrize("trial", ["memory", "processes", "processor", "killing", "changing"])
def test_a_sandbox_is_held_and_ended_by_version_2(found: dict[str, str], trial: str) -> None:
    assert found["hierarchy"] == "2 memory pids cpu"
    assert found[trial] == "", found[trial]
