"""Limits of `setrlimit`: for every sandboxed process, and in place of control groups where there are none."""

from __future__ import annotations

from apps.sandbox.cgroups import Cgroup, Limits


def rlimits_for(limits: Limits, cgroup: Cgroup | None) -> dict[str, int]:
    """Return limits by their name in the `resource` module.

    Without a memory controller each process, not the tree of them, is held to `limits.memory_bytes` of data. Without a
    pids controller processes are counted per user, which the kernel does not do for root.
    """
    counted = cgroup.folders if cgroup else {}
    found = {
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": limits.open_files,
        # A little more than may be kept, so that a full disk is told as that, and not as a file that is too large.
        "RLIMIT_FSIZE": max(limits.disk_bytes, limits.storage_bytes) + 1024**2,
    }
    if "memory" not in counted:
        found["RLIMIT_DATA"] = limits.memory_bytes
    if "pids" not in counted:
        found["RLIMIT_NPROC"] = limits.processes
    return found
