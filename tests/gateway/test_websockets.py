from __future__ import annotations

import asyncio
from typing import Any

import pytest

from apps.accounts.models import User
from apps.spaces.models import Space
from tests.gateway.asgi_client import Socket, websocket
from tests.gateway.test_access import make_token, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
Upstream = tuple[int, dict[str, Any]]


async def is_accepted(socket: Socket) -> bool:
    accepted = (await socket.hear())["type"] == "websocket.accept"
    socket.hang_up(1000)
    await asyncio.wait_for(socket.task, 10)
    return accepted


async def test_messages_pass_both_ways_as_text_and_binary(space: Space, upstream: Upstream) -> None:
    origin = f"http://{space.host}"
    socket = websocket(space.host, "/socket?a=1", {"Origin": origin, "Cookie": "theirs=1; portico_session=s"})
    assert (await socket.hear())["type"] == "websocket.accept"
    socket.say("hello")
    assert (await socket.hear())["text"] == "HELLO"
    socket.say(b"\x00\x01")
    assert (await socket.hear())["bytes"] == b"\x01\x00"
    socket.hang_up(1001)
    await asyncio.wait_for(socket.task, 10)
    handshake = upstream[1]["handshake"]
    assert (handshake["host"], handshake["origin"]) == (space.host, origin), "what Streamlit compares"
    assert (handshake["cookie"], handshake["x-forwarded-for"]) == ("theirs=1", "203.0.113.9")
    assert upstream[1]["closed"] == 1001


async def test_the_app_chooses_the_subprotocol(space: Space) -> None:
    socket = websocket(space.host, "/socket", subprotocols=["first", "second"])
    assert (await socket.hear())["subprotocol"] == "first"
    socket.hang_up(1000)
    await asyncio.wait_for(socket.task, 10)


@pytest.mark.parametrize("code", [1000, 1001, 1008, 3000, 4999])
async def test_the_apps_close_code_reaches_the_client(space: Space, code: int) -> None:
    socket = websocket(space.host, "/socket")
    await socket.hear()
    socket.say(f"close {code}")
    assert (await socket.hear())["code"] == code
    await asyncio.wait_for(socket.task, 10)


async def test_a_client_that_vanishes_is_told_to_the_app(space: Space, upstream: Upstream) -> None:
    socket = websocket(space.host, "/socket")
    await socket.hear()
    socket.hang_up(1006)
    await asyncio.wait_for(socket.task, 10)
    for _ in range(100):
        if "closed" in upstream[1]:
            break
        await asyncio.sleep(0.02)
    assert upstream[1]["closed"] == 1011


async def test_a_path_without_a_websocket_refuses_it(space: Space) -> None:
    assert not await is_accepted(websocket(space.host, "/x"))


async def test_which_pages_may_connect(space: Space, private_space: Space, owner: User) -> None:
    assert await is_accepted(websocket(space.host, "/socket", {"Origin": "https://blog.example"}))
    assert not await is_accepted(websocket(space.host, "/socket", {"Origin": "null"}))
    host = private_space.host
    assert not await is_accepted(websocket(host, "/socket"))
    cookie = await sign_in(private_space, owner)
    assert await is_accepted(websocket(host, "/socket", {**cookie, "Origin": f"http://{host}"}))
    assert not await is_accepted(websocket(host, "/socket", {**cookie, "Origin": "https://blog.example"}))
    token = await make_token(owner)
    assert await is_accepted(websocket(host, "/socket", {"Authorization": f"Bearer {token}"}))
