"""Limits of `setrlimit`: for every sandboxed process, and in place of control groups where there are none."""

from __future__ import annotations

from apps.sandbox.cgroups import Cgroup, Limits

PENDING_SIGNALS = 2048


def rlimits_for(limits: Limits, cgroup: Cgroup | None) -> dict[str, int]:
    """Return limits by their name in the `resource` module.

    Without a memory controller each process, not the tree of them, is held to `limits.memory_bytes` of data. Without a
    pids controller processes are counted per user, which the kernel does not do for root.
    """
    counted = cgroup.folders if cgroup else {}
    found = {
        # Not 0: a core_pattern that is a program is run all the same then, by root and outside of every limit. At 1
        # the kernel runs none (fs/coredump.c), and a file is too small to be begun.
        "RLIMIT_CORE": 1,
        "RLIMIT_RTPRIO": 0,
        "RLIMIT_NICE": 0,
        # Counted for all workers of a zygote together as well, which may have the system's own, far larger number.
        "RLIMIT_SIGPENDING": PENDING_SIGNALS,
        "RLIMIT_NOFILE": limits.open_files,
        # A little more than may be kept, so that a full disk is told as that, and not as a file that is too large.
        "RLIMIT_FSIZE": max(limits.disk_bytes, limits.storage_bytes) + 1024**2,
    }
    if "memory" not in counted:
        found["RLIMIT_DATA"] = limits.memory_bytes
    if "pids" not in counted:
        found["RLIMIT_NPROC"] = limits.processes
    return found
