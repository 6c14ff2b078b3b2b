"""What a process may do, as the kernel tells from outside (`/proc/PID/status`, see proc_pid_status(5))."""

from __future__ import annotations

from pathlib import Path

_CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_FILTERED = "2"


def has_ended(pid: int) -> bool:
    try:
        return _status(pid)["State"][0] in "ZX"
    except OSError:
        return True


def kept_by(pid: int, user: int, *, filters: int) -> list[str]:
    """Why a process is not one without any rights, by the names of the kernel's fields.

    Args:
        pid: its number here.
        user: the one user and group, as numbered here, that it should be.
        filters: how many seccomp filters it should have (a kernel before 5.9 does not tell how many).

    Raises:
        OSError: it has ended.
    """
    status = _status(pid)
    wanted = dict.fromkeys(_CAPABILITIES, "0" * 16)
    wanted |= {"Uid": "\t".join([str(user)] * 4), "Gid": "\t".join([str(user)] * 4), "Groups": "", "NoNewPrivs": "1"}
    if filters:
        wanted |= {"Seccomp": _FILTERED, "Seccomp_filters": str(filters)}
    return [name for name, value in wanted.items() if status.get(name, value) != value]


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
