"""What wants a processor and gets none: `Cgroup.waiting_seconds`."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys

import pytest

from apps.sandbox import cgroups
from apps.sandbox.cgroups import Limits
from tests.waiting import wait_until

LIMITS = Limits(memory_bytes=2**28, processes=16, cpus=2.0, disk_bytes=2**24)
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes control groups here")


def test_two_that_share_a_processor_wait_for_each_other() -> None:
    hierarchy = cgroups.find(f"portico-waiting-{secrets.token_hex(4)}")
    group = hierarchy.create("both", LIMITS)
    processor = {min(os.sched_getaffinity(0))}
    busy = [
        subprocess.Popen([sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {processor!r})\nwhile True: pass"])
        for _ in range(2)
    ]
    try:
        assert group.waiting_seconds() == 0.0
        for process in busy:
            group.add(process.pid)
        wait_until(lambda: group.waiting_seconds() > 0.5)
    finally:
        for process in busy:
            process.kill()
            process.wait()
        group.remove()
        hierarchy.remove()
