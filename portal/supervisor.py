"""`portico up`: the whole portal from one command, and nothing left of it afterwards."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import structlog
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command

log = structlog.get_logger(__name__)

PR_SET_PDEATHSIG = 1
GRACE_SECONDS = 15
AGENT_GRACE_SECONDS = 60
"""It asks every worker to end before it insists, and there may be hundreds."""
READY_SECONDS = 60
CELERY_AS_ROOT = "ignore:You're running the worker with superuser privileges"
"""Celery's worker runs no stranger's code: that is what the sandbox is for."""


class UpError(Exception):
    """Why the portal cannot come up, for the person who typed the command."""


@dataclass
class Child:
    """A process of the portal, restarted with growing pauses when it dies unasked."""

    name: str
    argv: list[str]
    grace_seconds: float = GRACE_SECONDS
    process: subprocess.Popen[bytes] | None = None
    failures: int = 0
    started_at: float = 0.0
    start_after: float = field(default=0.0)

    def start(self) -> None:
        # Their own sessions, so that Ctrl-C reaches only the supervisor, which then ends them in order.
        self.process = subprocess.Popen(
            self.argv,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509
            env={**os.environ, "PYTHONWARNINGS": CELERY_AS_ROOT},
        )
        self.started_at = time.monotonic()

    def tend(self) -> None:
        """Start it when it is due; notice that it died."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.start_after:
                self.start()
            return
        if not self.has_ended():
            return
        status = self.reap()
        self.failures = 1 if now - self.started_at > 60 else self.failures + 1
        pause = min(30.0, 0.5 * 2**self.failures)
        log.error("process ended, starting it again", process=self.name, status=status, in_seconds=pause)
        self.start_after = now + pause

    def has_ended(self) -> bool:
        """Whether it ended. It is not reaped yet: its id, and that of its group, are still its own."""
        if self.process is None:
            return True
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def reap(self) -> int:
        """Kill what is left of it and of its own children (Celery's clock outlives a killed Celery), and return its
        exit status."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        status = self.process.wait()
        self.process = None
        return status


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def celery_argv() -> list[str]:
    """The task worker; with Celery's own clock, since `up` is one worker by definition."""
    return [
        sys.executable, "-m", "celery", "--app", "portal", "--quiet", "worker", "--pool", "threads",
        "--concurrency", "2", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING",
        "--beat", "--schedule", str(settings.PORTICO_RUN / "beat"), "--hostname", f"portico@{settings.PORTICO_NODE}",
    ]  # fmt: skip


def children() -> list[Child]:
    manage = [sys.executable, str(settings.BASE_DIR / "manage.py"), "portico"]
    return [
        Child("agent", [*manage, "agent"], AGENT_GRACE_SECONDS),
        Child("tasks", celery_argv()),
        Child("web", [*manage, "web"]),
    ]


def up(echo: Callable[[str], None]) -> None:
    """Migrate, make the first admin, start agent, task worker and web, and stay until told to end.

    Args:
        echo: prints a line for the person at the terminal.

    Raises:
        UpError: the data folder or the port is in use.
    """
    lock = _lock_data_folder()
    _check_port_is_free()
    _prepare()
    _announce_admin(echo)
    stopping = False

    def stop(signum: int, frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    family = children()
    announced, started = False, time.monotonic()
    try:
        while not stopping:
            for child in family:
                child.tend()
            if not announced and _is_ready():
                echo(f"\nPortico is at {settings.PORTICO_URL}  (Ctrl-C ends it)")
                announced = True
            elif not announced and time.monotonic() - started > READY_SECONDS:
                echo(f"Portico is still not ready; ask {settings.PORTICO_URL}/readyz what is missing.")
                announced = True
            time.sleep(0.1)
    finally:
        echo("Ending Portico ...")
        end(family)
        for left in settings.PORTICO_RUN.glob("*.sock"):  # of the web process, or of whoever was killed
            left.unlink(missing_ok=True)
        lock.close()


def end(family: list[Child]) -> None:
    """End every process, the web first so that nobody asks for a worker any more, the agent last so that it
    can end its workers; whoever ignores SIGTERM is killed."""
    for child in reversed(family):
        if child.process is None:
            continue
        child.process.terminate()
        deadline = time.monotonic() + child.grace_seconds
        while not child.has_ended() and time.monotonic() < deadline:
            time.sleep(0.02)
        child.reap()


def _lock_data_folder() -> IO[str]:
    for folder in (settings.PORTICO_DATA, settings.PORTICO_RUN, *_queue_folders()):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = (settings.PORTICO_RUN / "up.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UpError(f"A portal already runs on {settings.PORTICO_DATA}.") from None
    return lock


def _queue_folders() -> list[Path]:
    options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
    return [Path(value) for value in options.values() if isinstance(value, str)]


def _check_port_is_free() -> None:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((settings.PORTICO_BIND, settings.PORTICO_PORT))
        except OSError as error:
            raise UpError(
                f"Port {settings.PORTICO_PORT} on {settings.PORTICO_BIND} cannot be used ({error.strerror}). "
                "Name another one in PORTICO_PORT."
            ) from None


def _prepare() -> None:
    call_command("migrate", interactive=False, verbosity=0)
    if settings.STORAGES["staticfiles"]["BACKEND"].startswith("whitenoise."):
        _collect_static()


def _collect_static() -> None:
    """Collect and compress static files, unless none has changed since the last time."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in sorted(finder.list([]), key=lambda item: item[0]):
            stat = Path(storage.path(name)).stat()
            digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    stamp = settings.STATIC_ROOT / ".collected"
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    # Anew: it would keep a file that looks younger than the one of another release.
    call_command("collectstatic", interactive=False, verbosity=0, clear=True)
    stamp.write_text(digest.hexdigest())


def _announce_admin(echo: Callable[[str], None]) -> None:
    from apps.accounts.services import ensure_admin, setup_token

    if settings.PORTICO_ADMIN:
        name, _, password = settings.PORTICO_ADMIN.partition(":")
        if not name or not password:
            raise UpError("PORTICO_ADMIN must be name:password.")
        ensure_admin(name, password)
        return
    if token := setup_token():
        echo(f"No administrator yet. Make one, once, at {settings.PORTICO_URL}/setup/{token}")


def _is_ready() -> bool:
    address = "127.0.0.1" if settings.PORTICO_BIND in {"0.0.0.0", "::"} else settings.PORTICO_BIND  # noqa: S104
    try:
        with urllib.request.urlopen(f"http://{address}:{settings.PORTICO_PORT}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
