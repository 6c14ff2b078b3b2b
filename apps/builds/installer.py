"""uv, in a sandbox: requirements to a lock, a lock to an Environment.

The installer has the host's network, since it must reach the package index, and the cache that all Spaces share, and
therefore never runs a package's own code: only wheels are taken, and no interpreter starts in an Environment that has
packages in it, which a `.pth` file among them would be enough to take over. They are compiled in a sandbox without
either. What it may write is its cache and the one folder it installs into; how much, `guard.Guard` watches.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uv
from django.conf import settings

from apps.builds.guard import Guard, cache_in_use, sweep_cache
from apps.builds.locks import held
from apps.sandbox import cgroups, launch
from apps.sandbox.bubblewrap import ENVIRONMENT, Sandbox
from apps.sandbox.cgroups import Limits
from apps.sandbox.interpreters import Interpreter

PLATFORM = f"{os.uname().sysname}-{os.uname().machine}".lower()
UV, CACHE, WORK = "/opt/uv", "/cache", "/work"
PASSED_ON = re.compile(
    r"(UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|SYSTEM_CERTS)|SSL_CERT_(FILE|DIR)|.*_PROXY)", re.I
)
"""Variables of the portal by which its operator chooses another index, certificates or a proxy."""
NOT_THERE_YET = re.compile(r"there\s+is\s+no\s+version\s+of")
PAUSES = (2, 10)
"""Seconds before the index is asked again for a version that it has just named: the servers of an index do not learn
of a release at once."""
PUBLIC_CREDENTIALS = re.compile(r"//[^/\s@]+@")

Say = Callable[[str], None]


class InstallError(Exception):
    """uv could not do it.

    Attributes:
        output: what uv said.
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


@dataclass(frozen=True)
class Installed:
    """An Environment on disk."""

    key: str
    folder: Path
    size_bytes: int
    reused: bool


def environments_folder() -> Path:
    return settings.PORTICO_DATA / "environments"


def environment_key(interpreter: Interpreter, lock: str) -> str:
    """The name of the Environment: SHA-256 of platform, interpreter and lock."""
    return hashlib.sha256(f"{PLATFORM}\n{interpreter.version}\n{lock}".encode()).hexdigest()


def resolve(interpreter: Interpreter, requirements: Sequence[str], say: Say, *, deadline: float) -> str:
    """Return the lock: every package with its version and the hashes of its files, one requirement after another.

    Raises:
        InstallError: there is no solution; the message is for the Space's author.
    """
    if not requirements:
        return ""
    with _work_folder() as work:
        (work / "requirements.in").write_text("\n".join(requirements) + "\n")
        command = [
            UV, "pip", "compile", "--no-config", "--python", str(interpreter.executable), "--only-binary", ":all:",
            "--generate-hashes", "--no-header", "--no-annotate", "--quiet", "-o", f"{WORK}/lock.txt",
            f"{WORK}/requirements.in",
        ]  # fmt: skip
        _run(command, interpreter, ((work, WORK),), say, deadline=deadline)
        return (work / "lock.txt").read_text()


def install(interpreter: Interpreter, lock: str, say: Say, *, deadline: float) -> Installed:
    """Make the lock's Environment, or find it made.

    It is installed aside and renamed into place whole, by one process at a time.

    Raises:
        InstallError: a file cannot be fetched, or the disk is full.
    """
    key = environment_key(interpreter, lock)
    folder = environments_folder() / key
    if folder.is_dir():
        return Installed(key, folder, 0, reused=True)
    with _one_at_a_time(key):
        if folder.is_dir():
            return Installed(key, folder, 0, reused=True)
        aside = environments_folder() / f".{key}.{secrets.token_hex(4)}.part"
        aside.mkdir(parents=True)
        try:
            _install(interpreter, lock, aside, say, deadline)
            size = sum(f.lstat().st_size for f in aside.rglob("*"))
            aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return Installed(key, folder, size, reused=False)


def _install(interpreter: Interpreter, lock: str, aside: Path, say: Say, deadline: float) -> None:
    writable = ((aside, ENVIRONMENT),)
    venv = [
        UV,
        "venv",
        "--no-config",
        "--quiet",
        "--allow-existing",
        "--python",
        str(interpreter.executable),
        ENVIRONMENT,
    ]
    _run(venv, interpreter, writable, say, deadline=deadline)
    if not lock:
        return
    with _work_folder() as work:
        (work / "lock.txt").write_text(lock)
        _sync(["--python", f"{ENVIRONMENT}/bin/python"], interpreter, (*writable, (work, WORK)), say, deadline)
    # What does not compile is for the app to find out; -S: without the `.pth` files.
    code = f"import compileall; compileall.compile_dir('{ENVIRONMENT}/lib', quiet=2, workers=0)"
    compile_all = [str(interpreter.executable), "-I", "-S", "-c", code]
    _run(compile_all, interpreter, writable, say, deadline=deadline, online=False)


@contextmanager
def unpacked(interpreter: Interpreter, lock: str, *, deadline: float) -> Iterator[Path]:
    """The files of a lock's packages, without an Environment around them, in a folder that is gone at the end.

    Raises:
        InstallError: as `install`.
    """
    with _work_folder() as work:
        (work / "lock.txt").write_text(lock)
        into = ["--python", str(interpreter.executable), "--target", f"{WORK}/packages"]
        _sync(into, interpreter, ((work, WORK),), lambda line: None, deadline)
        yield work / "packages"


def _sync(
    into: list[str], interpreter: Interpreter, writable: tuple[tuple[Path, str], ...], say: Say, deadline: float
) -> None:
    """Install what `lock.txt` in the work folder names, where the options `into` say."""
    command = [
        UV, "pip", "sync", "--no-config", *into, "--only-binary", ":all:", "--require-hashes", "--link-mode", "copy",
        f"{WORK}/lock.txt",
    ]  # fmt: skip
    for pause in PAUSES:
        try:
            return _run(command, interpreter, writable, say, deadline=deadline)
        except InstallError as error:
            if not NOT_THERE_YET.search(error.output):
                raise
        say(f"The package index answers two things about it; asking again in {pause} s")
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
    _run([*command, "--refresh"], interpreter, writable, say, deadline=deadline)


def sweep_leftovers() -> None:
    """Delete what installations that died have left. Those under way hold the lock of each thing."""
    sweep_groups()
    sweep_cache(settings.PORTICO_UV_CACHE)
    for work in (settings.PORTICO_DATA / "builds").glob("*/"):
        with held(work.name) as is_dead:
            if is_dead:
                shutil.rmtree(work, ignore_errors=True)
    for aside in environments_folder().glob(".*.part"):
        with _one_at_a_time(aside.name.split(".")[1], wait=False) as got:
            if got:
                shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _work_folder() -> Iterator[Path]:
    name = secrets.token_hex(8)
    with held(name):
        folder = settings.PORTICO_DATA / "builds" / name
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _one_at_a_time(key: str, *, wait: bool = True) -> Iterator[bool]:
    locks = environments_folder() / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / key).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _run(
    command: Sequence[str],
    interpreter: Interpreter,
    writable: tuple[tuple[Path, str], ...],
    say: Say,
    *,
    deadline: float,
    online: bool = True,
) -> None:
    """Run `command` in a sandbox. `online`: with the host's network and the cache."""
    cache = settings.PORTICO_UV_CACHE
    cache.mkdir(parents=True, exist_ok=True)
    guard = Guard(tuple(folder for folder, _ in writable), cache)
    sandbox = Sandbox(
        environment={
            "PATH": "/usr/bin:/bin",
            "HOME": "/home/user",
            "UV_CACHE_DIR": CACHE,
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "UV_CONCURRENT_DOWNLOADS": "8",
            **{name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)},
        },
        read_only=((Path(uv.find_uv_bin()).resolve(), UV), *interpreter.mounts),
        writable=((cache, CACHE), *writable) if online else writable,
        working_folder="/",
        share_net=online,
        hostname="build",
        scratch_bytes=1024**3,
    )
    limits = Limits(memory_bytes=4 * 1024**3, processes=256, cpus=float(os.cpu_count() or 1), disk_bytes=20 * 1024**3)
    with cache_in_use(cache), _group(limits) as group:
        try:
            process = launch.start(
                sandbox,
                command,
                limits=limits,
                cgroup=group,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                python=interpreter.executable,
            )
        except OSError as error:
            raise InstallError(f"The build could not be started ({error}).") from error
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX), give_up)
        timer.start()
        guard.watch(process.kill)
        output: list[str] = []
        try:
            assert process.stdout is not None
            for raw in process.stdout:
                line = PUBLIC_CREDENTIALS.sub("//", raw.decode(errors="replace").rstrip())
                output.append(line)
                say(line)
        finally:
            timer.cancel()
            process.wait()
            too_much = guard.verdict()
    text = "\n".join(output)
    if too_much:
        sweep_cache(cache)
        raise InstallError(too_much, text)
    if late.is_set():
        raise InstallError(f"The build took longer than the {settings.PORTICO_BUILD_SECONDS} s it may take.", text)
    if process.returncode:
        raise InstallError(explain(text), text)


@contextmanager
def _group(limits: Limits) -> Iterator[cgroups.Cgroup | None]:
    """A control group for one build, and its parent for no other: nothing of either is left."""
    name = _groups() + secrets.token_hex(8)
    with held(name):  # before there is anything that `sweep_groups` could find
        hierarchy = cgroups.find(name)
        try:
            group = hierarchy.create(secrets.token_hex(6), limits) if hierarchy.version else None
        except OSError:
            group = None
        try:
            yield group
        finally:
            if group is not None:
                group.remove()
            hierarchy.remove()


def _groups() -> str:
    """What the names of this portal's begin with."""
    return f"portico-builds-{cgroups.mark(settings.PORTICO_DATA)}-"


def sweep_groups() -> None:
    """End and delete what builds that died have left in this machine's control groups. Those under way hold their
    group's lock."""
    for name in cgroups.named(_groups()):
        with held(name) as is_dead:
            if is_dead:
                hierarchy = cgroups.find(name)
                hierarchy.clear()
                hierarchy.remove()


def explain(output: str) -> str:
    """What uv's failure means, for the Space's author; uv's own words follow where they say more."""
    joined = re.sub(r"\s+", " ", re.sub(r"[│├╰▶×─]", " ", output))
    if found := re.search(r"Because ([\w.\[\]-]+) was not found in the package registry", joined):
        return f"The package “{found[1]}” does not exist on the package index. Check its spelling in requirements.txt."
    if found := re.search(r"Because there is no version of (\S+) and", joined):
        return f"There is no “{found[1]}” on the package index. Ask for a version that exists."
    if "No space left on device" in joined:
        return "The portal's disk is full. Tell its administrator."
    if found := re.search(r"[Bb]ecause (?:all versions of )?(\S+?)(?:==\S+)? (?:has|have) no usable wheels", joined):
        return (
            f"“{found[1]}” has no wheel (ready-made package) for this Python. Packages are not compiled here, since "
            "that runs their code while building. Choose a version or Python that has one."
        )
    if "only-binary" in joined or "building from source is disabled" in joined or "no wheels" in joined:
        return (
            f"A package has no wheel (ready-made package) for this Python, and none is compiled here. {_reason(joined)}"
        )
    if "No solution found" in joined:
        return f"The requirements cannot be met together. {_reason(joined)}"
    if re.search(r"dns error|Failed to fetch|error sending request|Connection refused|tcp connect", joined):
        return "The package index could not be reached. Try a factory rebuild later."
    return f"The packages could not be installed. {_reason(joined)}"


def _reason(joined: str) -> str:
    found = re.search(r"(?:[Bb]ecause|error:|hint:).*", joined)
    return (found[0] if found else joined)[:600].strip()
