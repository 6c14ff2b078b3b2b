"""Websockets as a client finds them, through each web server and the gateway to a real app (RFC 6455)."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from tests.gateway.upstream import make_app
from tests.gateway.wire import HOST, Wire, running
from tests.waiting import wait_until

MESSAGE = bytes(65536)


@contextlib.contextmanager
def serving(seen: dict[str, Any]) -> Iterator[int]:
    """The app of upstream.py in a thread of its own; yields its port."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(make_app(seen), handler_cancellation=True, shutdown_timeout=0.1)
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0)
    loop.run_until_complete(site.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield int(runner.addresses[0][1])
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(runner.cleanup())
    loop.close()


@dataclass
class Sockets:
    """A server with that app behind it."""

    wire: Wire
    seen: dict[str, Any]

    @contextlib.asynccontextmanager
    async def open(self, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        url = f"http://127.0.0.1:{self.wire.port}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, headers={"Host": HOST.decode()}, **options) as ws,
        ):
            yield ws


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sockets]:
    seen: dict[str, Any] = {}
    folder = tmp_path_factory.mktemp(request.param)
    with serving(seen) as port, running(request.param, folder, behind=port) as wire:
        yield Sockets(wire, seen)
        said = (folder / "stderr").read_text()
        assert "Traceback" not in said, said[-3000:]


@pytest.fixture
def sockets(made: Sockets) -> Sockets:
    made.seen.clear()
    return made


async def heard(ws: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
    return await ws.receive(timeout=10)


async def test_messages_of_any_kind_and_size_pass(sockets: Sockets) -> None:
    async with sockets.open("/socket") as ws:
        for text in ("hello", "", "ä\0\n", "x" * 1_000_000):
            await ws.send_str(text)
            assert (await heard(ws)).data == text.upper()
        for data in (b"\0\xff", b"", bytes(range(256)) * 4000):
            await ws.send_bytes(data)
            message = await heard(ws)
            assert (message.type, message.data) == (WSMsgType.BINARY, data[::-1])


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["first"], "first"), (["x", "second"], "second"), (["x"], None), ([], None)]
)
async def test_the_app_chooses_among_the_subprotocols(sockets: Sockets, offered: list[str], chosen: str | None) -> None:
    async with sockets.open("/socket", protocols=offered) as ws:
        assert ws.protocol == chosen


async def test_pings_are_answered_on_both_sides(sockets: Sockets) -> None:
    async with sockets.open("/socket", autoping=False) as ws:
        await ws.ping(b"client")
        message = await heard(ws)
        assert (message.type, bytes(message.data)) == (WSMsgType.PONG, b"client")
    async with sockets.open("/pinging") as ws:
        assert (await heard(ws)).data == "PONG app"


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1008, 1011, 3000, 4000, 4999])
async def test_close_codes_pass_both_ways_and_so_do_reasons(sockets: Sockets, code: int) -> None:
    async with sockets.open(f"/closing?code={code}&reason=it%20is%20late") as ws:
        message = await heard(ws)
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, code, "it is late")
    async with sockets.open("/closed") as ws:
        await ws.close(code=code, message=b"thank you")
    await asyncio.to_thread(wait_until, lambda: "goodbye" in sockets.seen, seconds=10)
    # Daphne does not tell an application the reason.
    assert sockets.seen["goodbye"] == (code, "thank you" if sockets.wire.kind == "uvicorn" else "")


async def test_an_app_that_dies_ends_the_socket(sockets: Sockets) -> None:
    async with sockets.open("/dying") as ws:
        assert (await heard(ws)).data == "here"
        assert (await heard(ws)).type in (WSMsgType.CLOSE, WSMsgType.CLOSED)
        assert ws.close_code == 1011


async def test_a_client_that_is_gone_is_told_to_the_app(sockets: Sockets) -> None:
    async with sockets.open("/closed") as ws:
        connection = ws._response.connection
        assert connection is not None and connection.transport is not None
        connection.transport.abort()
    await asyncio.to_thread(wait_until, lambda: "goodbye" in sockets.seen, seconds=10)
    assert sockets.seen["goodbye"][0] == 1011


async def test_a_client_that_closes_without_a_code_has_closed(sockets: Sockets) -> None:
    async with sockets.open("/closed") as ws:
        assert ws._writer is not None
        await ws._writer.send_frame(b"", WSMsgType.CLOSE)
        await asyncio.to_thread(wait_until, lambda: "goodbye" in sockets.seen, seconds=10)
    assert sockets.seen["goodbye"][0] == 1000


async def test_a_client_that_does_not_read_slows_the_app(sockets: Sockets) -> None:
    """64 MB are there to be sent; most of them wait with the app."""
    sockets.wire.forget_peak()
    before = sockets.wire.peak_bytes()
    async with sockets.open("/flood", max_msg_size=0) as ws:
        await asyncio.sleep(1)
        first = sockets.seen["sent"]
        await asyncio.sleep(0.5)
        assert sockets.seen["sent"] == first < 700
        received = 0
        async with asyncio.timeout(60):
            async for message in ws:
                received += message.data == MESSAGE
    assert received == 1000
    assert sockets.wire.peak_bytes() - before < 24 * 1024**2


async def test_an_app_that_does_not_read_slows_the_client(sockets: Sockets) -> None:
    sockets.wire.forget_peak()
    before, sent = sockets.wire.peak_bytes(), 0
    async with sockets.open("/deaf") as ws:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                while sent < 1000:
                    await ws.send_bytes(MESSAGE)
                    sent += 1
        assert sent < 700
        sockets.seen["listen"] = True
        await asyncio.to_thread(wait_until, lambda: sockets.seen["heard"] >= sent, seconds=20)
    assert sockets.wire.peak_bytes() - before < 24 * 1024**2
