"""Control groups: limits on a whole tree of processes, and the way to end all of it.

`find(name)` returns where this process may make groups: version 1 (a folder in each controller's hierarchy),
version 2 (one folder), or neither, in which case `rlimits` are what is left. A `Cgroup` then counts memory, files in
tmpfs included, processes and CPU time of everything started in it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

CONTROLLERS = ("memory", "pids", "cpu", "cpuacct")
CPU_PERIOD_MICROSECONDS = 100_000
SOCKET_SHARE = 8
"""Of its memory, a group may have one part in so many as data under way in sockets, where that is counted apart."""
REMOVE_SECONDS = 5.0


@dataclass(frozen=True)
class Limits:
    """What one tree of processes may use.

    Attributes:
        memory_bytes: memory and swap together; files in tmpfs count.
        processes: processes and threads at once.
        cpus: processors' worth of time, fractions allowed.
        disk_bytes: files it may keep in its writable folders.
        open_files: per process.
        storage_bytes: files that outlive it; 0 for none.
    """

    memory_bytes: int
    processes: int
    cpus: float
    disk_bytes: int
    open_files: int = 4096
    storage_bytes: int = 0


@dataclass(frozen=True)
class Cgroup:
    """One group. `folders` has the folder per controller (version 1) or the same one for all (version 2); it is
    empty where the machine offers no cgroups, and every method then says so by doing nothing."""

    version: int
    folders: dict[str, Path] = field(default_factory=dict)

    @property
    def procs_files(self) -> list[Path]:
        """A process joins the group by writing its id, or `0` for itself, into each of these."""
        return [folder / "cgroup.procs" for folder in self._distinct()]

    def add(self, pid: int) -> None:
        """Move one process into the group. Its future children follow, those it already has stay where they are.

        Raises:
            OSError: the process is gone, or the group is.
        """
        for path in self.procs_files:
            path.write_text(str(pid))

    def pids(self) -> set[int]:
        """The processes in it now."""
        found: set[int] = set()
        for path in self.procs_files:
            with contextlib.suppress(OSError):
                found.update(int(line) for line in path.read_text().split())
        # One of another pid namespace is listed as 0, and a signal to 0 would go to this process' own group.
        return found - {0}

    def memory_bytes(self) -> int | None:
        """Memory in use, page cache included. None where it is not counted."""
        name = "memory.current" if self.version == 2 else "memory.usage_in_bytes"
        return self._number("memory", name)

    def anonymous_bytes(self) -> int | None:
        """Memory that belongs to no file. None where it is not counted."""
        return self._keyed("memory", "memory.stat").get("anon" if self.version == 2 else "rss")

    def cpu_seconds(self) -> float | None:
        """Processor time used since it was made. None where it is not counted."""
        if self.version == 2:
            used = self._keyed("cpu", "cpu.stat").get("usage_usec")
            return None if used is None else used / 1e6
        nanoseconds = self._number("cpuacct", "cpuacct.usage")
        return None if nanoseconds is None else nanoseconds / 1e9

    def waiting_seconds(self) -> float:
        """For how long the threads that are in it now would have run, had a processor been free: their run delay,
        summed (Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat)."""
        nanoseconds = 0
        for pid in self.pids():
            with contextlib.suppress(OSError, ValueError, IndexError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    nanoseconds += int((thread / "schedstat").read_text().split()[1])
        return nanoseconds / 1e9

    def out_of_memory_kills(self) -> int:
        """How many of its processes the kernel has killed because the group's memory was used up."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return self._keyed("memory", name).get("oom_kill", 0)

    def kill(self) -> None:
        """SIGKILL everything in it, also what is just being forked."""
        if self.version == 2 and self.folders:
            with contextlib.suppress(OSError):
                (next(iter(self.folders.values())) / "cgroup.kill").write_text("1")
        for _ in range(50):
            pids = self.pids()
            if not pids:
                return
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)

    def remove(self) -> None:
        """Kill what is left in it and delete it. Returns after `REMOVE_SECONDS` at the latest."""
        deadline = time.monotonic() + REMOVE_SECONDS
        for folder in self._distinct():
            while folder.exists() and time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                    break
                self.kill()

    def _distinct(self) -> list[Path]:
        return list(dict.fromkeys(self.folders.values()))

    def _number(self, controller: str, name: str) -> int | None:
        with contextlib.suppress(OSError, KeyError, ValueError):
            return int((self.folders[controller] / name).read_text())
        return None

    def _keyed(self, controller: str, name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        with contextlib.suppress(OSError, KeyError):
            for line in (self.folders[controller] / name).read_text().splitlines():
                key, _, value = line.partition(" ")
                if value.isdigit():
                    found[key] = int(value)
        return found


@dataclass(frozen=True)
class Hierarchy:
    """Where this process may make groups.

    Attributes:
        version: 1, 2, or 0 for nowhere.
        folders: the parent folder by controller.
        reason: why a controller, or everything, is missing; empty when nothing is.
    """

    version: int
    folders: dict[str, Path] = field(default_factory=dict)
    reason: str = ""

    def create(self, name: str, limits: Limits | None) -> Cgroup:
        """Make a group with these limits; without any for now when they are None.

        Raises:
            OSError: the kernel refused.
        """
        folders = {controller: parent / name for controller, parent in self.folders.items()}
        group = Cgroup(self.version, folders)
        try:
            for folder in dict.fromkeys(folders.values()):
                folder.mkdir(parents=True, exist_ok=True)
            if limits is not None:
                self.limit(group, limits)
        except OSError:
            group.remove()
            raise
        return group

    def limit(self, group: Cgroup, limits: Limits) -> None:
        """Set the limits of a group, in place of those that it may have had.

        Raises:
            OSError: the kernel refused.
        """
        (_limit_v2 if self.version == 2 else _limit_v1)(group.folders, limits)

    def groups(self) -> dict[str, Cgroup]:
        """The groups that exist, by name: after a crash, those that nobody looks after."""
        names = {child.name for parent in self.folders.values() for child in _subfolders(parent)}
        return {
            name: Cgroup(self.version, {c: p / name for c, p in self.folders.items() if (p / name).is_dir()})
            for name in names
        }

    def clear(self) -> None:
        """End and delete every group that exists: nobody looks after them any more."""
        for group in self.groups().values():
            group.remove()

    def remove(self) -> None:
        """Delete the parent folders; those with groups left in them stay."""
        for folder in dict.fromkeys(self.folders.values()):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _subfolders(parent: Path) -> Iterable[Path]:
    return [child for child in parent.iterdir() if child.is_dir()] if parent.is_dir() else []


def mark(data: Path) -> str:
    """What the names of a portal's groups hold, by its data folder, to be told from another's on the same machine."""
    return hashlib.sha256(str(data).encode()).hexdigest()[:12]


def find(name: str, root: Path = Path("/sys/fs/cgroup")) -> Hierarchy:
    """Look for control groups that this process may use, and make a parent called `name` for its own.

    Args:
        name: tells the groups of one portal from those of another on the same machine.
        root: where the hierarchies are mounted.
    """
    first = _v1_roots(root)
    if "memory" in first:
        return _find_v1(name, first)
    if (root / "cgroup.controllers").exists():
        return _find_v2(name, root)
    return Hierarchy(0, reason=f"no control groups are mounted at {root}")


def named(beginning: str, root: Path = Path("/sys/fs/cgroup")) -> set[str]:
    """The names that begin so and have been given to `find`, by whatever process, and are still there."""
    first = _v1_roots(root)
    if "memory" in first:
        parents = list(first.values())
    else:
        parents = _v2_parents(root) if (root / "cgroup.controllers").exists() else []
    return {child.name for parent in parents for child in _subfolders(parent) if child.name.startswith(beginning)}


def _v1_roots(root: Path) -> dict[str, Path]:
    return {c: root / c for c in CONTROLLERS if (root / c / "cgroup.procs").exists()}


def _find_v1(name: str, roots: dict[str, Path]) -> Hierarchy:
    folders: dict[str, Path] = {}
    refused: list[str] = []
    for controller in CONTROLLERS:
        try:
            folder = roots[controller] / name
            folder.mkdir(exist_ok=True)
            if not os.access(folder / "cgroup.procs", os.W_OK) and (roots[controller] / "cgroup.procs").exists():
                raise PermissionError
            folders[controller] = folder
        except (OSError, KeyError):
            refused.append(controller)
    reason = f"may not use {', '.join(refused)}" if refused else ""
    return Hierarchy(1 if folders else 0, folders, reason)


def _find_v2(name: str, root: Path) -> Hierarchy:
    wanted = ("memory", "pids", "cpu")
    refused = ""
    for parent in _v2_parents(root):
        try:
            folder = parent / name
            folder.mkdir(exist_ok=True)
            for level in (parent, folder):
                _enable_v2(level, wanted)
            if not os.access(parent / "cgroup.procs", os.W_OK):
                raise PermissionError(f"may not move processes within {parent}")
        except OSError as error:
            refused = f"{parent}: {error.strerror or error}"
            with contextlib.suppress(OSError):
                (parent / name).rmdir()
            continue
        available = (folder / "cgroup.controllers").read_text().split()
        missing = [c for c in wanted if c not in available]
        folders = {c: folder for c in wanted if c in available}
        return Hierarchy(2, folders, f"not delegated: {', '.join(missing)}" if missing else "")
    return Hierarchy(0, reason=refused or "no group is delegated to this user")


def _v2_parents(root: Path) -> list[Path]:
    """The group this process was given, when it is alone there (a service with delegation), then the root.

    A group with processes of its own cannot have limited children, so the process steps into a leaf first.
    """
    parents = [root]
    own = next((line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")), "/")
    given = root / own.lstrip("/")
    if given.name == "agent":
        given = given.parent
    if given != root and given.is_dir() and os.access(given, os.W_OK):
        with contextlib.suppress(OSError):
            leaf = given / "agent"
            if (given / "cgroup.procs").read_text().split() == [str(os.getpid())]:
                leaf.mkdir(exist_ok=True)
                (leaf / "cgroup.procs").write_text("0")
            if not (given / "cgroup.procs").read_text().split():
                parents.insert(0, given)
    return parents


def _enable_v2(folder: Path, wanted: Iterable[str]) -> None:
    control = folder / "cgroup.subtree_control"
    enabled = control.read_text().split()
    available = (folder / "cgroup.controllers").read_text().split()
    for controller in wanted:
        if controller in available and controller not in enabled:
            try:
                control.write_text(f"+{controller}")
            except OSError as error:
                # cpu alone is refused while a real-time process is in a group (cgroup-v2.rst); the others still hold.
                if controller != "cpu" or error.errno != errno.EINVAL:
                    raise


def _limit_v1(folders: dict[str, Path], limits: Limits) -> None:
    if folder := folders.get("memory"):
        memory, swap = folder / "memory.limit_in_bytes", folder / "memory.memsw.limit_in_bytes"
        grows = int(memory.read_text()) < limits.memory_bytes
        for path in (swap, memory) if grows else (memory, swap):  # the kernel wants the second to be the larger one
            with contextlib.suppress(FileNotFoundError):  # kernels without swap accounting
                _write_existing(path, str(limits.memory_bytes))
        # Version 2 counts it as memory; here it would be nobody's, and all sockets of this machine share one budget.
        with contextlib.suppress(FileNotFoundError):
            _write_existing(folder / "memory.kmem.tcp.limit_in_bytes", str(limits.memory_bytes // SOCKET_SHARE))
    if folder := folders.get("pids"):
        (folder / "pids.max").write_text(str(limits.processes))
    if folder := folders.get("cpu"):
        (folder / "cpu.cfs_period_us").write_text(str(CPU_PERIOD_MICROSECONDS))
        (folder / "cpu.cfs_quota_us").write_text(str(int(limits.cpus * CPU_PERIOD_MICROSECONDS)))


def _limit_v2(folders: dict[str, Path], limits: Limits) -> None:
    if folder := folders.get("memory"):
        (folder / "memory.max").write_text(str(limits.memory_bytes))
        with contextlib.suppress(FileNotFoundError):
            _write_existing(folder / "memory.swap.max", "0")
        with contextlib.suppress(FileNotFoundError):
            _write_existing(folder / "memory.oom.group", "1")
    if folder := folders.get("pids"):
        (folder / "pids.max").write_text(str(limits.processes))
    if folder := folders.get("cpu"):
        quota = int(limits.cpus * CPU_PERIOD_MICROSECONDS)
        (folder / "cpu.max").write_text(f"{quota} {CPU_PERIOD_MICROSECONDS}")


def _write_existing(path: Path, text: str) -> None:
    if not path.exists():
        raise FileNotFoundError(path)
    path.write_text(text)
