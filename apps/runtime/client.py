"""The agent as the rest of the portal sees it: start, stop and reach workers.

Every function is asynchronous and may be called from any process of the node; `AgentUnavailable` is raised when the
agent does not answer.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
from django.conf import settings

from apps.runtime.errors import AgentUnavailable, StartRefused, WorkerGone
from apps.runtime.netns import MAX_SOCKETS

__all__ = [
    "AgentUnavailable",
    "RunningWorker",
    "StartRefused",
    "WorkerGone",
    "agent_status",
    "clear_storage",
    "empty_storage",
    "ensure_worker",
    "report_activity",
    "restart_worker",
    "stop_worker",
    "worker_sockets",
]

ANSWER_SECONDS = 30


@dataclass(frozen=True)
class RunningWorker:
    """A worker that answers.

    Attributes:
        id: for `worker_sockets`.
        port: where it listens on its own 127.0.0.1.
        node: the machine that holds it.
        deployment_id: what it runs.
        others: the Space's further workers that answer, where its plan grants more than one; they run the same.
    """

    id: UUID
    port: int
    node: str
    deployment_id: int
    others: tuple[RunningWorker, ...] = ()


async def ensure_worker(space_id: int, *, timeout: float) -> RunningWorker:
    """Return the Space's worker, started if there is none, as soon as it answers; and the others that do by then.

    However many callers ask at once, one worker is started. While a new deployment is starting, this is the former
    one's.

    Args:
        timeout: seconds to wait. The start goes on after it.

    Raises:
        StartRefused: the Space is not to run (paused, withheld, static, failing), or its start failed.
        TimeoutError: it does not answer yet.
        AgentUnavailable: nobody to ask.
    """
    found = await _call(f"/spaces/{space_id}/ensure", {"timeout": timeout}, timeout + ANSWER_SECONDS)
    return _running(found, tuple(_running(other) for other in found["others"]))


def _running(found: Mapping[str, Any], others: tuple[RunningWorker, ...] = ()) -> RunningWorker:
    return RunningWorker(UUID(found["id"]), found["port"], found["node"], found["deployment_id"], others)


async def stop_worker(space_id: int) -> None:
    """End whatever runs or starts for the Space; returns when it is gone. The stage is the caller's affair."""
    await _call(f"/spaces/{space_id}/stop", {}, ANSWER_SECONDS)


async def restart_worker(space_id: int) -> None:
    """Begin to start the Space afresh, from its current deployment; what runs serves until the new worker answers.
    Returns once that has begun. What comes of it is the Space's stage.

    Raises:
        StartRefused: it is paused, withheld, gone, static, or has nothing to run.
    """
    await _call(f"/spaces/{space_id}/restart", {}, ANSWER_SECONDS)


async def report_activity(open_requests: Mapping[int, int]) -> None:
    """Keep Spaces awake. Name those that had requests since the last report or have some open now; whoever is not
    named, or not for longer than its `sleep_seconds`, goes to sleep.

    Args:
        open_requests: open requests by Space, 0 when all are answered.
    """
    await _call("/activity", {str(space): count for space, count in open_requests.items()}, ANSWER_SECONDS)


async def clear_storage() -> None:
    """Delete what Spaces that are gone have kept. It also happens by itself, a little later."""
    await _call("/clear-storage", {}, ANSWER_SECONDS)


async def empty_storage(space_id: int) -> None:
    """Delete what the Space keeps, if its `Storage` says that this is to be done. What runs of the Space ends before,
    and is being started again when this returns."""
    await _call(f"/spaces/{space_id}/empty-storage", {}, ANSWER_SECONDS)


async def agent_status() -> dict[str, Any]:
    """What the agent holds: `node`, `memory`, `capabilities`, `zygotes`, and `workers` with their Space, port,
    memory and age."""
    return await _call("/status", {}, ANSWER_SECONDS)


async def worker_sockets(worker_id: UUID, count: int) -> list[socket.socket]:
    """Return `count` (at most 64) unconnected non-blocking TCP sockets that live in the worker's network namespace.

    Connect them to `("127.0.0.1", worker.port)`. They are the only way to a worker.

    Raises:
        WorkerGone: it has ended.
        AgentUnavailable: nobody to ask.
    """
    loop = asyncio.get_running_loop()
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel.setblocking(False)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await loop.sock_connect(channel, str(sockets_path()))
            count = max(1, min(count, MAX_SOCKETS))
            await loop.sock_sendall(channel, json.dumps({"worker": str(worker_id), "count": count}).encode())
            await _readable(channel)
            answer, descriptors, _, _ = socket.recv_fds(channel, 4096, MAX_SOCKETS)
    except (OSError, TimeoutError) as error:
        raise AgentUnavailable(str(error) or "no answer in time") from error
    finally:
        channel.close()
    sockets = [socket.socket(fileno=fd) for fd in descriptors]
    for made in sockets:
        made.setblocking(False)
    if not sockets:
        raise WorkerGone(json.loads(answer)["error"] if answer else "the worker has ended")
    return sockets


def api_path() -> Path:
    return Path(settings.PORTICO_RUN) / "agent.sock"


def sockets_path() -> Path:
    return Path(settings.PORTICO_RUN) / "agent-sockets.sock"


async def _readable(channel: socket.socket) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(channel, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(channel)


async def _call(path: str, body: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    connector = aiohttp.UnixConnector(str(api_path()))
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=seconds)) as session,
            session.post(f"http://agent{path}", json=body) as answer,
        ):
            found: dict[str, Any] = await answer.json()
            status = answer.status
    except TimeoutError as error:
        raise AgentUnavailable(f"no answer within {seconds:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise AgentUnavailable(str(error)) from error
    if status == 409:
        raise StartRefused(found["stage"], found["message"])
    if status == 504:
        raise TimeoutError(found["message"])
    if status != 200:
        raise AgentUnavailable(found.get("message", f"status {status}"))
    return found
