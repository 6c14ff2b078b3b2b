"""A really running agent beside the tests' own database, and demos to run in it without a build."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from django.conf import settings
from django.db import connection

from apps.accounts.models import User
from apps.builds.models import Build, Deployment, Environment
from apps.runtime import client, services
from apps.sandbox.interpreters import default_interpreter
from apps.spaces.models import SDK, Space, Stage
from apps.spaces.services import create_space
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
AGENT = [sys.executable, "-m", "apps.runtime.agent"]
_numbers = itertools.count(1)

SERVER = """
import http.server, os, sys
print("listening on", os.environ["PORT"], flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = self.answer().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def answer(self):
        return "hello"
    def log_message(self, *args):
        pass
def serve(handler=Handler, port=None):
    http.server.ThreadingHTTPServer(("127.0.0.1", port or int(os.environ["PORT"])), handler).serve_forever()
"""
"""The beginning of a demo of the SDK `python`: `serve()` answers `hello`, or what a subclass of `Handler` says."""
HELLO = SERVER + "serve()\n"


class RunningAgent:
    """An agent in a process of its own, on the tests' database and data folder.

    Args:
        command: another program in its place.
        environment: further settings, as `PORTICO_SLEEP_SECONDS="1"`.
    """

    def __init__(self, command: Sequence[str] = AGENT, **environment: str) -> None:
        self.command = command
        self.asked = environment
        self.environment = {
            **os.environ,
            **shared_database(),
            "PORTICO_DATA": str(settings.PORTICO_DATA),
            **environment,
        }
        self.log = Path(settings.PORTICO_DATA) / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.stop()

    def start(self, seconds: float = 120) -> None:
        """Start it, in the place of the one that is kept, and wait until it answers."""
        if self is not _kept:
            end_kept()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(self._answers, seconds=seconds)
        except AssertionError:
            self.stop()
            raise AssertionError(f"the agent did not come up:\n{self.log.read_text()[-4000:]}") from None

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def _answers(self) -> bool:
        assert self.is_running, "it ended"
        with contextlib.suppress(client.AgentUnavailable):
            asyncio.run(client.agent_status())
            return True
        return False

    def stop(self, signal_number: int = signal.SIGTERM, seconds: float = 60) -> int | None:
        """End it and return its exit status."""
        if self.process is None:
            return None
        self.process.send_signal(signal_number)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the agent did not end") from None
        self.process = None
        return status


_kept: RunningAgent | None = None


def kept(**environment: str) -> RunningAgent:
    """An agent of these settings that goes on running after the test: an agent's start is dearer than most tests. Ended
    when a test starts one of its own, on the same data folder, or asks for other settings."""
    global _kept
    if _kept is None or not _kept.is_running or _kept.asked != environment:
        end_kept()
        _kept = RunningAgent(**environment)
        _kept.start()
    return _kept


def end_kept() -> None:
    global _kept
    former, _kept = _kept, None
    if former is not None:
        former.stop()


@contextlib.contextmanager
def shared(agent: RunningAgent) -> Iterator[RunningAgent]:
    """An agent that several tests use, one after the other: each finds it on its own, emptied, database."""
    services.note_node()
    yield agent
    if agent.is_running:
        for space_id in Space.objects.values_list("pk", flat=True):
            asyncio.run(client.stop_worker(space_id))


def shared_database() -> dict[str, str]:
    """The environment that leads another process to the database this test uses."""
    if connection.vendor == "sqlite":
        return {"DATABASE_URL": ""}  # the data folder's own file: tests/conftest.py
    at = connection.settings_dict
    password = f":{quote(at['PASSWORD'], safe='')}" if at["PASSWORD"] else ""
    return {"DATABASE_URL": f"postgres://{at['USER']}{password}@{at['HOST']}:{at['PORT'] or 5432}/{at['NAME']}"}


def make_space(name: str = "", **options: Any) -> Space:
    """A Space of a new person, without anything in it."""
    number = next(_numbers)
    user = User.objects.create_user(f"person{number}-{os.getpid()}", f"{number}@example.org", "a long password")
    return create_space(user.namespace, name or f"demo{number}", user=user, **options)


def bare_environment(name: str = "bare", **modules: str) -> Environment:
    """An Environment with nothing in it but `modules` (source by name), so that its workers are forked."""
    interpreter = default_interpreter()
    key = hashlib.sha256(repr((name, sorted(modules.items()))).encode()).hexdigest()
    folder = Path(settings.PORTICO_DATA) / "environments" / key
    if not folder.exists():
        command = [str(interpreter.executable), "-m", "venv", "--without-pip", "--symlinks", str(folder)]
        subprocess.run(command, check=True)
        packages = next(folder.glob("lib/python3*/site-packages"))
        for module, source in modules.items():
            (packages / f"{module}.py").write_text(source)
        subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    return Environment.objects.get_or_create(key=key, defaults={"python_version": interpreter.version, "lock": name})[0]


def deploy(space: Space, files: dict[str, str] | str = HELLO, **fields: Any) -> Deployment:
    """Make `files` (or one `app.py`) the Space's current deployment, on the bare interpreter. It is not started."""
    build = Build.objects.create(space=space, revision=f"{next(_numbers):040x}", state=Build.State.SUCCEEDED)
    Deployment.objects.filter(space=space, is_current=True).update(is_current=False)
    defaults = {"sdk": SDK.PYTHON, "app_file": "app.py", "startup_seconds": 60}
    deployment = Deployment.objects.create(space=space, build=build, revision=build.revision, **{**defaults, **fields})
    folder = Path(settings.PORTICO_DATA) / "deployments" / str(deployment.pk)
    for path, text in (files if isinstance(files, dict) else {"app.py": files}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return deployment


def sleeping_space(files: dict[str, str] | str = HELLO, **fields: Any) -> Space:
    """A Space with a deployment that a visit would wake."""
    space = make_space()
    deploy(space, files, **fields)
    Space.objects.filter(pk=space.pk).update(stage=Stage.SLEEPING)
    return space


def ensure(space: Space, timeout: float = 60) -> client.RunningWorker:
    return asyncio.run(client.ensure_worker(space.pk, timeout=timeout))


def fetch(worker: client.RunningWorker, path: str = "/") -> str:
    """GET `path` from a worker, the way the gateway does, and return the body."""

    async def go() -> bytes:
        loop = asyncio.get_running_loop()
        (channel,) = await client.worker_sockets(worker.id, 1)
        with channel:
            await loop.sock_connect(channel, ("127.0.0.1", worker.port))
            await loop.sock_sendall(channel, f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            parts = []
            while part := await loop.sock_recv(channel, 65536):
                parts.append(part)
            return b"".join(parts)

    head, _, body = asyncio.run(asyncio.wait_for(go(), 60)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1."), head
    return body.decode()


def stage_of(space: Space) -> str:
    space.refresh_from_db()
    return space.stage


def wait_for_stage(space: Space, stage: Stage, seconds: float = 60) -> Space:
    wait_until(lambda: stage_of(space) == stage, seconds=seconds, what=lambda: f"{space.stage}: {space.stage_message}")
    return space


def processes_mentioning(text: str) -> list[int]:
    """Processes of this machine with `text` in their command line, this one aside."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and text.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


@contextlib.contextmanager
def listening() -> Iterator[int]:
    """A server on the host's loopback, as the portal is one; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
