"""Starts the portal as an operator does, on a free port and in a data folder of its own, and stops it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
ADMIN = ("ada", "correct-horse-battery")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class RunningPortal:
    """`portico up` in a process of its own.

    Args:
        data: its data folder.
        port: a free one is taken when not given.
        environment: further settings, as `PORTICO_ADMIN="ada:password"`.
    """

    def __init__(self, data: Path, *, port: int | None = None, **environment: str) -> None:
        self.data, self.port = data, port or free_port()
        self.url = f"http://localhost:{self.port}"
        self.environment = {
            **{k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL", "PORTICO_TESTING"}},
            "PORTICO_DATA": str(data),
            "PORTICO_PORT": str(self.port),
            "PORTICO_UV_CACHE": os.environ.get("PORTICO_UV_CACHE", str(shared_uv_cache())),
            **environment,
        }
        self.log = data.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.stop()

    def start(self, seconds: float = 180) -> None:
        """Start it and wait until `/readyz` says so."""
        lend_environments(self.data)
        if COLLECTED.exists() and not (self.data / "static").exists():
            _copy(COLLECTED, self.data / "static")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "portico", "up"], cwd=ROOT, env=self.environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if self.get("/readyz")[0] == 200:
                return
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"the portal did not come up:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> None:
        """End it as Ctrl-C does: a terminal tells every process in the foreground."""
        if self.process is None:
            return
        keep_environments(self.data)
        if not COLLECTED.exists() and (self.data / "static" / ".collected").exists():
            _copy(self.data / "static", COLLECTED)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def command(self, *arguments: str, check: bool = True, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run `manage.py portico <arguments>` beside it."""
        done = subprocess.run(
            [sys.executable, "manage.py", "portico", *arguments],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"portico {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}")
        return done

    def shell(self, code: str, *, timeout: float = 60) -> str:
        """Run `code` in the portal's own code, beside it; returns what it prints."""
        argv = [sys.executable, "manage.py", "shell", "-v0", "--no-imports", "-c", code]
        done = subprocess.run(
            argv, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode != 0:
            raise AssertionError(f"this failed in the portal's shell:\n{code}\n{done.stderr}")
        return done.stdout

    def deploy(self, folder: Path, space: str, *options: str) -> str:
        """Deploy `folder` and return the demo's own address."""
        lend_environments(self.data)
        address = self.command("deploy", str(folder), space, *options).stdout.split()[-1]
        keep_environments(self.data)
        return address

    def environments(self) -> list[Path]:
        """The folders of the Environments that its Spaces have used."""
        with contextlib.closing(sqlite3.connect(self.data / "portico.sqlite3")) as database:
            keys = database.execute("SELECT key FROM builds_environment ORDER BY key")
            return [self.data / "environments" / key for (key,) in keys]

    @property
    def python(self) -> Path:
        """The interpreter of the first of them."""
        return self.environments()[0] / "bin" / "python"

    def token(self, user: str) -> str:
        return self.command("token", user).stdout.strip()

    def get(self, path: str, *, host: str | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """GET `path` on the portal, or on the Space host `host`; returns status and body, 0 when unreachable."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers or {})
        request.add_header("Host", host or f"localhost:{self.port}")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def host(self, subdomain: str) -> str:
        return f"{subdomain}.spaces.localhost:{self.port}"


def of_portal(portal: RunningPortal) -> dict[int, str]:
    """Processes that hold the portal's data folder in their environment or command line, by id."""
    found: dict[int, str] = {}
    mark = str(portal.data).encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:
            continue
        if mark in command or mark in environment:
            found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def child(portal: RunningPortal, words: str) -> int:
    """The process that the supervisor started with `words` in its command line."""
    assert portal.process is not None
    for pid, command in of_portal(portal).items():
        stat = Path(f"/proc/{pid}/stat")
        if words in command and stat.exists():
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == portal.process.pid:
                return pid
    raise AssertionError(f"no {words} among {of_portal(portal)}")


def shared_uv_cache() -> Path:
    """One cache of packages for every test run of this checkout."""
    return ROOT / ".artifacts" / "uv-cache"


BUILT = ROOT / ".artifacts" / "environments"
"""Environments that portals of this checkout's tests have built, by their key: to compile one anew for each portal
takes longer than most tests."""
BUNDLES = ROOT / ".artifacts" / "bundles"
"""Likewise Gradio's own pages."""
COLLECTED = ROOT / ".artifacts" / "static"
"""Static files as they were last compressed; the portal looks itself whether one has changed since."""


def lend_environments(data: Path) -> None:
    """Give a portal what others have built or fetched; what it is just building itself is left to it."""
    folder = data / "environments"
    (folder / ".locks").mkdir(parents=True, exist_ok=True)
    for built in BUILT.glob("[!.]*"):
        if (folder / built.name).exists():
            continue
        with (folder / ".locks" / built.name).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            _copy(built, folder / built.name, _link)
    _lend_new(BUNDLES, data / "bundles")


def keep_environments(data: Path) -> None:
    _lend_new(data / "environments", BUILT)
    _lend_new(data / "bundles", BUNDLES)


def _lend_new(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for found in source.glob("[!.]*"):
        if not (target / found.name).exists():
            _copy(found, target / found.name, _link)


def _link(file: str, to: str) -> None:
    """The same file under another name, as nobody writes into one of an Environment."""
    try:
        os.link(file, to)
    except OSError:  # another file system
        shutil.copy2(file, to)


def _copy(source: Path, target: Path, copy_file: Callable[[str, str], object] = shutil.copy2) -> None:
    """Another folder with the same files, which is there whole or not at all."""
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        shutil.copytree(source, aside, symlinks=True, copy_function=copy_file)
        with contextlib.suppress(OSError):  # the other test process was quicker
            aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
