"""Version 2 of control groups, on machines with version 1 too: in a kernel that is a program (user-mode Linux)."""

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
KERNEL = "linux.uml"
BOOT_SECONDS = 300
# Its last words on a processor with more registers than it has room for (AMX), before a line of the test has run.
REGISTERS_REFUSED = "ptrace set fp regs failed"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="user-mode Linux is for x86-64 alone"),
    pytest.mark.skipif(os.geteuid() != 0, reason="the kernel's first process acts as the user who starts it"),
]
INIT = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /run
mount -t cgroup2 none /sys/fs/cgroup
export TMPDIR=/run PYTHONPATH={root} PYTHONDONTWRITEBYTECODE=1 PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd {root} && {python} -m tests.sandbox.version_2
echo o > /proc/sysrq-trigger; sleep 60
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `version_2.py` said there. The kernel sees this machine's files, read-only."""
    assert shutil.which(KERNEL), "install the Debian package user-mode-linux"
    init = tmp_path_factory.mktemp("kernel") / "init"
    init.write_text(INIT.format(root=ROOT, python=sys.executable))
    init.chmod(0o755)
    command = [
        KERNEL, "mem=1024M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}", "con=null",
        "con0=fd:0,fd:1", "quiet",
    ]  # fmt: skip
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=BOOT_SECONDS, check=False,
    )  # fmt: skip
    said = done.stdout.decode(errors="replace")
    if REGISTERS_REFUSED in said:
        pytest.skip("user-mode Linux cannot run any program on this processor: it has too many registers for it")
    assert "FOUND " in said, said[-3000:]
    told: dict[str, str] = json.loads(said.partition("FOUND ")[2].splitlines()[0])
    return told


@pytest.mark.parametrize("trial", ["memory", "processes", "processor", "killing", "changing"])
def test_a_sandbox_is_held_and_ended_by_version_2(found: dict[str, str], trial: str) -> None:
    assert found["hierarchy"] == "2 memory pids cpu"
    assert found[trial] == "", found[trial]
