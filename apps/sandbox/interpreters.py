"""The Pythons of this machine that a Space may run on, each asked to prove itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 14)
DEFAULT_ORDER = ("3.13", "3.12", "3.11", "3.14", "3.10")
"""What a Space without `python_version` gets: the newest that practically every wheel supports, first."""

_PROBE = (
    "import sys, json, venv, ssl, sqlite3; "
    "print(json.dumps([list(sys.version_info[:3]), sys.base_prefix, sys.implementation.name]))"
)


@dataclass(frozen=True)
class Interpreter:
    """One installed CPython.

    Attributes:
        version: in full, as `3.11.7`.
        executable: its program, with links resolved.
        prefix: the folder that holds it and its library, to be mounted at the same path; `/usr` for the system's.
    """

    version: str
    executable: Path
    prefix: Path

    @property
    def minor(self) -> str:
        return self.version.rpartition(".")[0]

    @property
    def mounts(self) -> tuple[tuple[Path, str], ...]:
        """What a sandbox must show besides `/usr` for it to run."""
        return () if self.prefix.is_relative_to("/usr") else ((self.prefix, str(self.prefix)),)


@cache
def find_interpreters() -> dict[str, Interpreter]:
    """Return the interpreters by minor version, `"3.11"`, oldest first.

    Looked for in `PORTICO_PYTHONS` (programs, separated as in PATH), beside the running one, on PATH, in pyenv's
    versions folder, in `/opt` and `/usr/local`. Shims that refuse to run and builds without ssl or venv are passed
    over. Of two with the same minor version the newer patch wins. The answer is kept for the life of the process.
    """
    found: dict[str, Interpreter] = {}
    for candidate in _candidates():
        interpreter = probe(candidate)
        if interpreter is None:
            continue
        known = found.get(interpreter.minor)
        if known is None or _key(interpreter.version) > _key(known.version):
            found[interpreter.minor] = interpreter
    return dict(sorted(found.items(), key=lambda item: _key(item[0])))


def default_interpreter() -> Interpreter:
    """The interpreter of a Space that does not ask for one.

    Raises:
        LookupError: the machine has none; the running Python itself does not suit.
    """
    interpreters = find_interpreters()
    for minor in DEFAULT_ORDER:
        if minor in interpreters:
            return interpreters[minor]
    raise LookupError("no Python from 3.10 to 3.14 with venv and ssl was found on this machine")


def probe(program: Path) -> Interpreter | None:
    """Ask a program what Python it is. None when it is none that suits."""
    try:
        done = subprocess.run([str(program), "-I", "-c", _PROBE], capture_output=True, timeout=10, check=True, cwd="/")
        version, prefix, implementation = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if implementation != "cpython" or not OLDEST <= tuple(version[:2]) <= NEWEST:
        return None
    root = Path(prefix).resolve()
    executable = root / "bin" / f"python{version[0]}.{version[1]}"
    if not executable.exists() or root == Path("/"):
        return None
    return Interpreter(".".join(map(str, version)), executable.resolve(), root)


def _candidates() -> list[Path]:
    minors = [f"{OLDEST[0]}.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]
    found = [Path(p) for p in os.environ.get("PORTICO_PYTHONS", "").split(os.pathsep) if p]
    found.append(Path(sys.executable))
    for folder in [*os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/bin", "/usr/local/bin"]:
        found += [Path(folder, f"python{minor}") for minor in minors]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for root in (pyenv / "versions", Path("/opt")):
        for minor in minors:
            found += sorted(root.glob(f"*{minor}*/bin/python{minor}"))
    unique = dict.fromkeys(p.resolve() if p.exists() else p for p in found)
    return [p for p in unique if p.is_file() and os.access(p, os.X_OK)]


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
