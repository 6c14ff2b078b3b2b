"""Apps that do what a test asks of them: Spaces that keep files at `/data`, and ones that work or end."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import Any
from urllib.parse import quote

from apps.runtime import client
from apps.spaces import plans
from apps.spaces.models import Plan, Space, Stage
from tests.running_agent import SERVER, bare_environment, ensure, fetch, sleeping_space
from tests.waiting import wait_until

MIB = 1024**2
KEEPER = (
    SERVER
    + """
import errno, json, pathlib, urllib.parse
def fill(path, mib):
    written = 0
    try:
        with open(path, "wb") as file:
            for _ in range(mib):
                file.write(bytes(2**20)); file.flush(); written += 1
            os.fsync(file.fileno())
    except OSError as error:
        return [errno.errorcode[error.errno], written]
    return ["written", written]
def attempt(text):
    try:
        return eval(text)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
class Does(Handler):
    def answer(self):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        return json.dumps(attempt(query["eval"]), default=str) if "eval" in query else "hello"
serve(Does)
"""
)
"""Answers what a Python expression gives there; `fill(path, mib)` writes until it cannot."""

ON_REQUEST = (
    SERVER
    + """
import threading, time
def work():
    until = time.monotonic() + 6
    while time.monotonic() < until:
        pass
    print("job done", flush=True)
class Does(Handler):
    def answer(self):
        if self.path == "/die":
            os._exit(7)
        if self.path == "/job":
            threading.Thread(target=work).start()
        return "hello"
"""
)
"""Works for six seconds on a request for `/job`, ends on one for `/die`; `serve(Does)` is still to be added."""


def keeping(mib: int = 64, *, way: str = "fork", **fields: Any) -> Space:
    """A Space whose plan grants storage, started in the given way."""
    plan, _ = Plan.objects.update_or_create(
        slug=f"keeps-{mib}", defaults={"name": f"Keeps {mib}", "storage_bytes": mib * MIB, **fields}
    )
    space = sleeping_space(KEEPER, environment=bare_environment() if way == "fork" else None)
    plans.choose_plan(space, plan.slug)
    return space


def ask(space: Space, expression: str) -> Any:
    return json.loads(fetch(ensure(space), f"/?eval={quote(expression)}"))


def stop(space: Space) -> None:
    asyncio.run(client.stop_worker(space.pk))
    Space.objects.filter(pk=space.pk).update(stage=Stage.SLEEPING)


def loop_devices() -> str:
    return subprocess.run(["losetup", "--list", "--noheadings"], capture_output=True, text=True, check=True).stdout


def restart(space: Space) -> None:
    former = ensure(space).id
    asyncio.run(client.restart_worker(space.pk))
    wait_until(lambda: ensure(space).id != former)
