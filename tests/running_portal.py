"""Starts the portal as an operator does, on a free port and in a data folder of its own, and stops it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent


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
        return self.command("deploy", str(folder), space, *options).stdout.split()[-1]

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
