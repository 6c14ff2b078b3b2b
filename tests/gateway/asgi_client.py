"""Asks the ASGI application as a server would, byte for byte, so that tests may also ask what no client would."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from portal.asgi import application

Headers = list[tuple[bytes, bytes]]


@dataclass
class Exchange:
    """One request under way, or answered."""

    status: int = 0
    headers: Headers = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    aborted: bool = False
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    incoming: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    outgoing: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    task: asyncio.Task[None] | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)

    def all(self, name: str) -> list[str]:
        return [v.decode("latin-1") for k, v in self.headers if k == name.encode()]

    def get(self, name: str) -> str | None:
        found = self.all(name)
        return found[0] if found else None

    def disconnect(self) -> None:
        self.incoming.put_nowait({"type": "http.disconnect"})

    def send_body(self, chunk: bytes, more: bool = True) -> None:
        self.incoming.put_nowait({"type": "http.request", "body": chunk, "more_body": more})

    async def next_chunk(self) -> bytes:
        return await asyncio.wait_for(self.outgoing.get(), 10)

    async def end(self) -> None:
        assert self.task is not None
        await asyncio.wait_for(self.task, 20)


def without_id(answer: Exchange) -> Headers:
    """The headers without the request's id, which no two answers share."""
    assert len(answer.all("x-request-id")) == 1
    return [(name, value) for name, value in answer.headers if name != b"x-request-id"]


def scope_for(
    method: str, host: str, target: str, headers: dict[str, str] | list[tuple[str, str]] | None, client: str
) -> dict[str, Any]:
    path, _, query = target.partition("?")
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(b"host", host.encode())] + [(k.lower().encode(), v.encode("latin-1")) for k, v in pairs],
        "client": [client, 40000],
        "server": ["127.0.0.1", 8000],
        "extensions": {"portico.abort": {}},
    }


def begin(
    method: str,
    host: str,
    target: str = "/",
    *,
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    body: bytes | None = b"",
    client: str = "203.0.113.9",
) -> Exchange:
    """Start a request. `body=None` leaves it open for `send_body`."""
    exchange = Exchange()
    scope = scope_for(method, host, target, headers, client)
    if body is not None:
        if body and not any(k == b"content-length" for k, _ in scope["headers"]):
            scope["headers"].append((b"content-length", str(len(body)).encode()))
        exchange.send_body(body, more=False)

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "portico.abort":
            exchange.aborted = True
        elif message["type"] == "http.response.start":
            assert not exchange.status, "answered twice"
            exchange.status, exchange.headers = message["status"], list(message["headers"])
            exchange.started.set()
        else:
            assert not exchange.ended.is_set(), "a body after the last one"
            exchange.chunks.append(message.get("body", b""))
            if message.get("body"):
                exchange.outgoing.put_nowait(message["body"])
            if not message.get("more_body"):
                exchange.ended.set()

    async def run() -> None:
        await application(scope, exchange.incoming.get, send)

    exchange.task = asyncio.create_task(run())
    return exchange


async def ask(method: str, host: str, target: str = "/", **options: Any) -> Exchange:
    """Ask and wait for the whole answer."""
    exchange = begin(method, host, target, **options)
    await exchange.end()
    return exchange


async def get(host: str, target: str = "/", **options: Any) -> Exchange:
    return await ask("GET", host, target, **options)


class Socket:
    """A websocket under way."""

    def __init__(self, host: str, target: str, headers: dict[str, str] | None, subprotocols: list[str]) -> None:
        scope = scope_for("GET", host, target, headers, "203.0.113.9")
        scope |= {"type": "websocket", "scheme": "ws", "subprotocols": subprotocols}
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(application(scope, self.incoming.get, self.outgoing.put))  # type: ignore[arg-type]

    async def hear(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.outgoing.get(), 10)

    def say(self, data: str | bytes) -> None:
        key, other = ("text", "bytes") if isinstance(data, str) else ("bytes", "text")
        self.incoming.put_nowait({"type": "websocket.receive", key: data, other: None})

    def hang_up(self, code: int) -> None:
        self.incoming.put_nowait({"type": "websocket.disconnect", "code": code})


def websocket(
    host: str, target: str = "/", headers: dict[str, str] | None = None, subprotocols: list[str] | None = None
) -> Socket:
    return Socket(host, target, headers, subprotocols or [])
