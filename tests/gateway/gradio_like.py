"""An app whose addresses are Gradio's, and whose habits a test decides."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aiohttp import web
from asgiref.sync import sync_to_async
from django.conf import settings

from apps.builds.models import Deployment
from apps.gateway import takes
from apps.gateway.models import Snapshot
from apps.gateway.routes import read_route
from apps.runtime.models import Node, Worker
from apps.spaces.models import Space

if TYPE_CHECKING:
    from tests.gateway.conftest import StandInAgent

SCRIPT = "assets/index-DphvyggB.js"
STYLE = "assets/index-DiEEvXS6.css"
FONT = "static/fonts/Sans.woff2"
FILES = {
    SCRIPT: b"export const greeting = 'hello';\n" * 200,
    STYLE: b"body { color: red }\n" * 100,
    "assets/svelte/svelte.js": b"export {};\n" * 50,
    "static/js/plain.js": b"window.plain = 1;\n" * 50,
    FONT: bytes(range(256)) * 8,
}


def make_environment(key: str, files: dict[str, bytes] | None = None) -> Path:
    """Put Gradio's own page where an Environment has it; returns the folder."""
    packages = Path(settings.PORTICO_DATA) / "environments" / key / "lib/python3.13/site-packages"
    frontend = packages / "gradio/templates/frontend"
    for name, content in (FILES if files is None else files).items():
        (frontend / name).parent.mkdir(parents=True, exist_ok=True)
        (frontend / name).write_bytes(content)
    return frontend


@dataclass
class GradioLike:
    """The app.

    Attributes:
        asked: path of every request.
        page, config: what is answered there, with `{host}` for the host that was asked.
        headers: by path, what is answered beside.
        status: by path, where it is not 200.
        vary: by path, a header of the request that the answer tells.
        files: what it has under `/assets/` and `/static/`.
        streams: paths whose answers come in parts, without a length.
        remembered: the host that asked first for the description of its API.
    """

    asked: list[str] = field(default_factory=list)
    page: str = f'<!doctype html><html><head><script src="./{SCRIPT}"></script></head><body>{{host}}</body></html>'
    config: dict[str, Any] = field(
        default_factory=lambda: {
            "version": "6.31.0",
            "app_id": 1,
            "components": [{"id": 1, "type": "textbox"}, {"id": 2, "type": "button"}],
            "dependencies": [{"id": 0, "targets": [[2, "click"]], "inputs": [1], "outputs": [1], "api_name": "greet"}],
            "pages": [["", "Home", True], ["about", "About", True], ["../escape", "Escape", True]],
        }
    )
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    tells: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    streams: set[str] = field(default_factory=set)
    remembered: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.asked.append(path)
        host = request.headers.get("X-Forwarded-Host", "")
        body, kind = b"", "text/plain"
        if path in ("/", "/about"):
            body, kind = self.page.replace("{host}", host).encode(), "text/html"
        elif path == "/config":
            body, kind = json.dumps({**self.config, "root": f"http://{host}"}).encode(), "application/json"
        elif path == "/gradio_api/info":
            self.remembered = self.remembered or host  # as Gradio does
            body, kind = json.dumps({"snippet": self.remembered}).encode(), "application/json"
        elif path == "/theme.css":
            body, kind = b":root { --x: 1 }", "text/css"
        elif path.lstrip("/") in self.files:
            body = self.files[path.lstrip("/")]
        elif path != "/who":
            return web.Response(status=404, text="not found")
        if path in self.tells:
            body += request.headers.get(self.tells[path], "-").encode()
        if path in self.streams:
            answer = web.StreamResponse(headers={"Content-Type": kind})
            await answer.prepare(request)
            for part in (body[:20], body[20:]):
                await answer.write(part)
                await asyncio.sleep(0.02)
            return answer
        headers = {"Content-Type": kind, **self.headers.get(path, {})}
        return web.Response(status=self.status.get(path, 200), body=body, headers=headers)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        return app


class Site:
    """A Gradio Space with a worker that is ready."""

    def __init__(self, space: Space, agent: StandInAgent, app: GradioLike, port: int) -> None:
        self.space, self.agent, self.app, self.port = space, agent, app, port

    @sync_to_async
    def start(self) -> Worker:
        """As a worker that has become ready."""
        Worker.objects.filter(space=self.space).update(state=Worker.State.ENDED)
        deployment = Deployment.objects.get(space=self.space, is_current=True)
        node = Node.objects.get_or_create(name="local")[0]
        worker = Worker.objects.create(
            pk=uuid4(), space=self.space, deployment=deployment, node=node, port=self.port, state=Worker.State.READY
        )
        self.agent.workers[worker.pk] = self.port
        return worker

    async def take(self) -> Snapshot | None:
        await self.start()
        await takes.take_of(self.space.pk)
        return await self.snapshot()

    @sync_to_async
    def snapshot(self) -> Snapshot | None:
        return Snapshot.objects.filter(deployment__space=self.space, deployment__is_current=True).first()

    async def route(self) -> Any:
        return await read_route(("subdomain", self.space.subdomain))
