"""Spaces in the database, and a real server on loopback in the place of a worker.

The agent alone is stood in for: it says where the worker is and gives sockets, which here are ordinary ones. The tests
marked `integration` run real workers instead.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp.test_utils import TestServer
from asgiref.sync import sync_to_async
from django.conf import settings

from apps.accounts.models import User
from apps.builds.models import Build, Deployment, Environment
from apps.gateway import asgi, takes, workers
from apps.runtime.client import AgentUnavailable, RunningWorker, StartRefused, WorkerGone
from apps.spaces.models import Space, Stage
from apps.spaces.services import create_space
from tests.gateway.gradio_like import GradioLike, Site, make_environment
from tests.gateway.upstream import make_app

names = itertools.count(1)


@dataclass
class StandInAgent:
    """What `apps.runtime.client` answers in these tests. While `away` it does not answer at all."""

    ports: dict[int, int] = field(default_factory=dict)
    refusals: dict[int, StartRefused] = field(default_factory=dict)
    held: dict[int, asyncio.Event] = field(default_factory=dict)
    workers: dict[UUID, int] = field(default_factory=dict)
    running: dict[int, RunningWorker] = field(default_factory=dict)
    ensured: list[int] = field(default_factory=list)
    activity: list[dict[int, int]] = field(default_factory=list)
    sockets: int = 0
    away: bool = False

    async def ensure_worker(self, space_id: int, *, timeout: float) -> RunningWorker:
        self.ensured.append(space_id)
        if self.away:
            raise AgentUnavailable("no such file")
        if space_id in self.held:
            await self.held[space_id].wait()
        if space_id in self.refusals:
            raise self.refusals[space_id]
        if space_id not in self.running:
            deployment = await sync_to_async(Deployment.objects.get)(space=space_id, is_current=True)
            worker = RunningWorker(uuid4(), self.ports[space_id], "local", deployment.pk)
            self.running[space_id], self.workers[worker.id] = worker, worker.port
        return self.running[space_id]

    def end(self, space_id: int) -> None:
        worker = self.running.pop(space_id)
        del self.workers[worker.id]

    async def worker_sockets(self, worker_id: UUID, count: int) -> list[socket.socket]:
        if self.away:
            raise AgentUnavailable("no such file")
        if worker_id not in self.workers:
            raise WorkerGone("gone")
        self.sockets += count
        made = [socket.socket() for _ in range(count)]
        for s in made:
            s.setblocking(False)
        return made

    async def report_activity(self, open_requests: Mapping[int, int]) -> None:
        self.activity.append(dict(open_requests))


async def without_connections(space: Space) -> None:
    """Close what the gateway has open to the Space's worker, and its sockets in reserve."""
    pool = asgi.current().workers._pools[space.pk]
    pool.drop()


@pytest.fixture
async def agent(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandInAgent]:
    stand_in = StandInAgent()
    for name in ("ensure_worker", "worker_sockets", "report_activity"):
        monkeypatch.setattr(workers.runtime, name, getattr(stand_in, name))
    yield stand_in
    await asgi.shut_down()


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """A server with the habits of many apps: its port, and what it has seen."""
    seen: dict[str, Any] = {}
    server = TestServer(make_app(seen))
    await server.start_server(shutdown_timeout=0.1)
    assert server.port is not None
    yield server.port, seen
    await server.close()


MakeSpace = Callable[..., Space]


@pytest.fixture
def owner(transactional_db: None) -> User:
    return User.objects.create_user(f"ada{next(names)}", "ada@example.org", "secret")


@pytest.fixture
def stranger(transactional_db: None) -> User:
    return User.objects.create_user(f"eve{next(names)}", "eve@example.org", "secret")


@pytest.fixture
def make_space(owner: User) -> MakeSpace:
    """A deployed Space. Keywords are fields of Space, or of its deployment when they begin with `deployment_`."""

    def make(**fields: Any) -> Space:
        of_deployment = {k.removeprefix("deployment_"): fields.pop(k) for k in list(fields) if "deployment_" in k}
        sdk, visibility = fields.pop("sdk", "gradio"), fields.pop("visibility", "public")
        space = create_space(owner.namespace, f"demo{next(names)}", user=owner, sdk=sdk, visibility=visibility)
        Space.objects.filter(pk=space.pk).update(**{"stage": Stage.RUNNING, **fields})
        # With its owner: a test that asks for `slug` within an event loop may not query.
        space = Space.objects.select_related("owner").get(pk=space.pk)
        deploy(space, **of_deployment)
        return space

    return make


def deploy(space: Space, **fields: Any) -> Deployment:
    space.deployments.update(is_current=False)
    build = Build.objects.create(space=space, revision="0" * 40, state=Build.State.SUCCEEDED)
    app_file = fields.pop("app_file", "index.html" if space.sdk == "static" else "app.py")
    deployment = Deployment.objects.create(
        space=space, build=build, revision="0" * 40, sdk=space.sdk, app_file=app_file, startup_seconds=60, **fields
    )
    # SQLite gives a number again after a test that emptied its table, and a folder outlives the test that made it.
    shutil.rmtree(Path(settings.PORTICO_DATA) / "deployments" / str(deployment.pk), ignore_errors=True)
    return deployment


@pytest.fixture
async def space(make_space: MakeSpace, upstream: tuple[int, dict[str, Any]], agent: StandInAgent) -> Space:
    """A public Space whose worker is `upstream`."""
    made = await sync_to_async(make_space)()
    agent.ports[made.pk] = upstream[0]
    return made


@pytest.fixture
async def private_space(make_space: MakeSpace, upstream: tuple[int, dict[str, Any]], agent: StandInAgent) -> Space:
    made = await sync_to_async(make_space)(visibility="private")
    agent.ports[made.pk] = upstream[0]
    return made


@pytest.fixture
async def gradio_site(
    make_space: MakeSpace, agent: StandInAgent, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    """A public Gradio Space whose page can be taken."""
    monkeypatch.setattr(takes, "BETWEEN_SECONDS", 0.0)
    key = uuid4().hex
    make_environment(key)

    @sync_to_async
    def make() -> Space:
        environment = Environment.objects.create(key=key, python_version="3.13.1", lock="gradio")
        return make_space(deployment_environment=environment)

    space, app = await make(), GradioLike()
    server = TestServer(app.app())
    await server.start_server(shutdown_timeout=0.1)
    assert server.port is not None
    agent.ports[space.pk] = server.port
    yield Site(space, agent, app, server.port)
    await server.close()
