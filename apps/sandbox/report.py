"""What of the sandbox holds on this machine, found by trying it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from apps.sandbox import cgroups, launch, seccomp, volumes
from apps.sandbox.bubblewrap import PROGRAM, Sandbox
from apps.sandbox.egress.node import TURNED_OFF
from apps.sandbox.egress.probe import try_egress
from apps.sandbox.inside import landlock
from apps.sandbox.interpreters import find_interpreters

TRY_SECONDS = 10
OLDEST_BUBBLEWRAP = (0, 8)
_PACKAGES = {PROGRAM: "bubblewrap", "git": "git"}


def machine_report(*, egress: bool) -> list[dict[str, Any]]:
    """Return one `{"name", "ok", "detail", "needed"}` per property, most important first.

    Args:
        egress: whether workers are to reach the internet.
    """
    hierarchy = cgroups.find("portico-report")
    hierarchy.remove()
    return [
        *_tools(),
        _sandbox(),
        _limits(hierarchy),
        _egress(egress),
        _interpreters(),
        _landlock(),
        _seccomp(),
        _own_user(),
        _storage(),
    ]


def _check(name: str, ok: bool, detail: str, *, needed: bool = True) -> dict[str, Any]:
    return {"name": name, "ok": ok, "detail": detail, "needed": needed}


def _tools() -> list[dict[str, Any]]:
    found = []
    for program, package in _PACKAGES.items():
        path = shutil.which(program)
        found.append(_check(program, path is not None, path or f"missing; install the Debian package {package}"))
    return found


@cache
def sandbox_failure() -> str:
    """Run a process in a sandbox and return why that did not work; empty when it did. Tried once per process."""
    if shutil.which(PROGRAM) is None:
        return "bubblewrap is missing; install the Debian package bubblewrap"
    version = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=False).stdout.split()[-1:]
    if version and tuple(int(n) for n in version[0].split(".")[:2] if n.isdigit()) < OLDEST_BUBBLEWRAP:
        return f"bubblewrap {version[0]} is too old, 0.8 is needed"
    limits = cgroups.Limits(memory_bytes=1024**3, processes=1000, cpus=1, disk_bytes=1024**2)
    with tempfile.TemporaryDirectory(prefix="portico-report-") as folder:
        process = launch.start(
            Sandbox(),
            ["/bin/sh", "-c", "! test -e /root/. && test $(id -u) = 1000"],
            limits=limits,
            scratch=launch.Scratch(Path(folder), limits.disk_bytes),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            _, errors = process.communicate(timeout=TRY_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return f"a sandboxed process did not end within {TRY_SECONDS} s"
    if process.returncode == 0:
        return ""
    told = errors.decode(errors="replace").strip() or f"status {process.returncode}"
    if "namespace" in told or "uid map" in told:
        told += " (unprivileged user namespaces seem to be forbidden here: allow them, or run the agent as root)"
    return told


def _sandbox() -> dict[str, Any]:
    failure = sandbox_failure()
    return _check("sandbox", not failure, failure or "user, mount, pid, ipc, uts, cgroup and network namespaces")


UNHELD = {
    "memory": "memory is limited per process, and not at all where it is shared (memfd, System V)",
    "pids": "processes are limited by setrlimit, all of a Space's together from Linux 5.14 on",
    "cpu": "processor time is not limited, nor told",
}
"""What it means that a controller is missing."""


def _limits(hierarchy: cgroups.Hierarchy) -> dict[str, Any]:
    missing = [meaning for controller, meaning in UNHELD.items() if controller not in hierarchy.folders]
    if hierarchy.version == 0:
        detail = f"no control groups ({hierarchy.reason})"
    else:
        detail = f"control groups version {hierarchy.version}: {', '.join(hierarchy.folders)}"
        detail = f"{detail}; {hierarchy.reason}".rstrip("; ")
    return _check("limits", not missing, "; ".join((detail, *missing)), needed=False)


def _egress(wanted: bool) -> dict[str, Any]:
    if not wanted:
        return _check("egress", True, f"turned off: {TURNED_OFF}", needed=False)
    found = try_egress()
    if found.why_none:
        return _check("egress", False, f"a worker reaches nothing but its own loopback: {found.why_none}", needed=False)
    if found.reached:
        return _check("egress", False, f"workers reach this machine at {', '.join(found.reached)}", needed=True)
    names = "names are resolved" if found.names else "no resolver of this machine answers, so names are not resolved"
    detail = f"the internet by IPv4, neither private networks nor this machine (pasta, nftables); {names}"
    return _check("egress", found.names, detail, needed=False)


def _interpreters() -> dict[str, Any]:
    found = find_interpreters()
    return _check("interpreters", bool(found), ", ".join(i.version for i in found.values()) or "no Python 3.10 to 3.14")


def _landlock() -> dict[str, Any]:
    version = landlock.version()
    if version < landlock.OLDEST:
        there = f"version {version}, of which version {landlock.OLDEST} is needed" if version else "none"
        return _check("landlock", False, f"this kernel has {there}: the other walls stand alone", needed=False)
    with (
        tempfile.TemporaryDirectory(prefix="portico-report-") as folder,
        os.fdopen(launch.in_memory("environment", b"{}"), "rb") as environment,
    ):
        number = environment.fileno()
        program = [sys.executable, "-I", "-S", landlock.__file__, str(number), "[]"]
        command = ["/bin/sh", "-c", f": < /etc/passwd && ! (: > {folder}/x)"]
        done = subprocess.run([*program, *command], pass_fds=[number], capture_output=True, text=True, check=False)
        held = done.returncode == 0 and not Path(folder, "x").exists()
    if not held:
        return _check("landlock", False, f"version {version} does not hold: {done.stderr.strip()[-200:]}", needed=False)
    detail = f"version {version}: workers and builds write in their own folders alone"
    if version >= 6:
        detail += ", and signal none but their own processes"
    return _check("landlock", True, detail, needed=False)


def _seccomp() -> dict[str, Any]:
    if seccomp.program() is None:
        return _check("seccomp", False, "libseccomp is missing; install the Debian package libseccomp2", needed=False)
    return _check("seccomp", True, f"sandboxed code may make {len(seccomp.ALLOWED)} system calls", needed=False)


def _storage() -> dict[str, Any]:
    why = volumes.unsupported()
    detail = f"Spaces whose plan grants it are not started: {why}" if why else "file systems with a quota, at /data"
    return _check("storage", not why, detail, needed=False)


def _own_user() -> dict[str, Any]:
    root = os.geteuid() == 0
    detail = (
        "the agent is root: each Space's workers are another user, and are forked from zygotes"
        if root
        else "the agent is not root: workers are its own user, and are started by fresh interpreters"
    )
    return _check("user", True, detail, needed=False)
