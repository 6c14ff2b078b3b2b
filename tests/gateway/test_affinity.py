"""A Space with several workers: each visitor stays with one, and moves when that one goes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from asgiref.sync import sync_to_async

from apps.builds.models import Deployment
from apps.gateway import affinity
from apps.gateway.asgi import current
from apps.gateway.headers import WORKER_COOKIE
from apps.gateway.websockets import TRY_AGAIN
from apps.runtime.client import RunningWorker
from apps.spaces.models import Space
from tests.gateway.asgi_client import Exchange, ask, begin, get, websocket
from tests.gateway.conftest import MakeSpace, StandInAgent
from tests.gateway.upstream import make_app

pytestmark = pytest.mark.django_db(transaction=True)

NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html"}


class Replicas:
    """A Space whose workers are so many servers, each of which says its number."""

    def __init__(self, space: Space, agent: StandInAgent, deployment_id: int) -> None:
        self.space, self.agent, self.deployment_id = space, agent, deployment_id
        self.runners: dict[int, web.AppRunner] = {}
        self.sites: dict[int, web.TCPSite] = {}
        self.workers: dict[int, RunningWorker] = {}
        self.vanished: list[int] = []

    async def start(self, number: int) -> None:
        async def who(request: web.Request) -> web.Response:
            return web.json_response({"worker": number, "cookie": request.headers.get("Cookie")})

        async def end(request: web.Request) -> web.Response:
            self.vanished.append(number)
            await self.sites[number].stop()
            assert request.transport is not None
            request.transport.close()
            return web.Response()

        async def vanish(request: web.Request) -> web.Response:
            self.vanished.append(number)
            assert request.transport is not None
            request.transport.close()
            return web.Response()

        async def queue(request: web.Request) -> web.Response:
            return web.json_response({"worker": number, "body": (await request.read()).decode("latin-1")})

        app = make_app({})
        outer = web.Application()
        outer.router.add_route("*", "/gradio_api/queue/{what}", queue)
        outer.router.add_route("*", "/who", who)
        outer.router.add_route("*", "/vanish", vanish)
        outer.router.add_route("*", "/end", end)
        outer.add_subapp("/app", app)
        self.runners[number] = runner = web.AppRunner(outer, shutdown_timeout=0.1)
        await runner.setup()
        self.sites[number] = site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        worker = RunningWorker(uuid4(), port, "local", self.deployment_id)
        self.workers[number], self.agent.workers[worker.id] = worker, port
        await self.tell()

    async def die(self, number: int, *, told: bool = True) -> None:
        """End it; its gateways hear of that, or find out."""
        del self.agent.workers[self.workers.pop(number).id]
        await self.runners.pop(number).cleanup()
        if told:
            await self.tell()

    async def tell(self) -> None:
        first, *others = self.workers.values()
        self.agent.running[self.space.pk] = replace(first, others=tuple(others))
        await current().watch.changed(self.space.pk)

    async def who(self, client: str = "203.0.113.9", cookie: str | None = None, method: str = "GET") -> int:
        """Which worker answers this visitor."""
        headers = {"Cookie": f"{WORKER_COOKIE}={cookie}"} if cookie else {}
        answer = await ask(method, self.space.host, "/who", headers=headers, client=client)
        assert answer.status == 200
        return int(answer.json()["worker"])


@pytest.fixture
async def replicas(make_space: MakeSpace, agent: StandInAgent) -> AsyncIterator[Replicas]:
    space = await sync_to_async(make_space)()
    deployment = await sync_to_async(Deployment.objects.get)(space=space)
    made = Replicas(space, agent, deployment.pk)
    for number in range(3):
        await made.start(number)
    yield made
    for runner in made.runners.values():
        await runner.cleanup()


def visitors(count: int = 30) -> list[str]:
    return [f"203.0.113.{n}" for n in range(count)]


def given(answer: Exchange) -> str | None:
    """The value of the cookie that an answer sets."""
    found = [re.match(rf"{WORKER_COOKIE}=([^;]*)", cookie) for cookie in answer.all("set-cookie")]
    return next((match[1] for match in found if match), None)


async def test_a_visitor_stays_with_one_worker_and_visitors_spread_over_all(replicas: Replicas) -> None:
    first = [await replicas.who(client) for client in visitors()]
    assert set(first) == {0, 1, 2}
    assert [await replicas.who(client) for client in visitors()] == first
    assert [await replicas.who(client, method="POST") for client in visitors()] == first


async def test_visitors_behind_one_address_spread_by_a_cookie_that_their_first_page_sets(replicas: Replicas) -> None:
    chosen = set()
    for _ in range(30):
        page = await get(replicas.space.host, "/who", headers=NAVIGATION)
        cookie = given(page)
        assert cookie is not None
        assert await replicas.who(cookie=cookie) == page.json()["worker"], "the page came from the same worker"
        assert await replicas.who("198.51.100.7", cookie) == page.json()["worker"], "on another network, too"
        chosen.add(page.json()["worker"])
    assert chosen == {0, 1, 2}


async def test_the_cookie_is_host_only_short_and_hidden_from_the_app(replicas: Replicas) -> None:
    page = await get(replicas.space.host, "/who", headers=NAVIGATION)
    (cookie,) = page.all("set-cookie")
    assert re.fullmatch(r"portico_worker=[0-9a-f]{4}; Path=/; HttpOnly; SameSite=None; Secure; Partitioned", cookie), (
        "no Domain, and gone with the browser's session"
    )
    sent = {**NAVIGATION, "Cookie": f"theirs=1; {WORKER_COOKIE}={given(page)}"}
    again = await get(replicas.space.host, "/who", headers=sent)
    assert again.json()["cookie"] == "theirs=1"
    assert again.all("set-cookie") == []


async def test_in_a_frame_of_another_site_the_cookie_is_partitioned_once(replicas: Replicas) -> None:
    framed = {**NAVIGATION, "Sec-Fetch-Dest": "iframe", "Sec-Fetch-Storage-Access": "none"}
    (cookie,) = (await get(replicas.space.host, "/who", headers=framed)).all("set-cookie")
    assert cookie.count("Partitioned") == cookie.count("Secure") == 1


async def test_an_app_cannot_set_it(replicas: Replicas, space: Space, upstream: tuple[int, dict[str, Any]]) -> None:
    assert given(await get(replicas.space.host, "/app/cookies")) is None


async def test_programs_get_no_cookie_and_one_that_is_not_ours_counts_for_nothing(replicas: Replicas) -> None:
    answer = await get(replicas.space.host, "/who", headers={"Accept": "*/*"})
    assert answer.all("set-cookie") == []
    assert await replicas.who(cookie="x" * 4000) == await replicas.who()


async def test_under_run_it_is_the_address_that_counts(replicas: Replicas) -> None:
    for client in visitors(10):
        target = f"/run/{replicas.space.slug}/who"
        sent = {**NAVIGATION, "Cookie": f"{WORKER_COOKIE}=0000"}
        answer = await get("localhost:8000", target, headers=sent, client=client)
        assert answer.json()["worker"] == await replicas.who(client)
        assert answer.all("set-cookie") == []


async def test_a_websocket_goes_where_the_visitors_requests_go(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(12):
        cookie = f"{n:04x}"
        socket = websocket(replicas.space.host, "/app/socket", {"Cookie": f"{WORKER_COOKIE}={cookie}; theirs=1"})
        assert (await socket.hear())["type"] == "websocket.accept"
        worker = replicas.workers[await replicas.who(cookie=cookie)]
        (busy,) = [p for p in current().workers._pools[replicas.space.pk].peers if not p.is_idle]
        assert busy.worker.id == worker.id
        socket.hang_up(1000)
        await asyncio.wait_for(socket.task, 10)


@pytest.mark.parametrize("told", [True, False])
async def test_when_a_worker_goes_its_visitors_move_and_nobody_else(replicas: Replicas, told: bool) -> None:
    before = {client: await replicas.who(client) for client in visitors()}
    for gone in (1, 0):
        await replicas.die(gone, told=told)
        after = {client: await replicas.who(client, method="GET") for client in visitors()}
        assert all(after[c] == before[c] for c in before if before[c] != gone)
        assert gone not in after.values()
        before = after
    assert set(before.values()) == {2}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_when_all_but_the_last_choice_are_gone_that_one_answers(replicas: Replicas, method: str) -> None:
    await replicas.who()
    peers = current().workers._pools[replicas.space.pk].peers
    ids = [peer.worker.id for peer in sorted(peers, key=lambda peer: affinity._weight(peer, b"203.0.113.9"))]
    last, *others = sorted(replicas.workers, key=lambda number: ids.index(replicas.workers[number].id))
    for number in others:
        await replicas.die(number, told=False)
    assert await replicas.who(method=method) == last


async def test_a_post_to_a_worker_that_is_gone_reaches_another(replicas: Replicas) -> None:
    """The connection is refused, so that it cannot have arrived."""
    await replicas.die(await replicas.who(), told=False)
    assert await replicas.who(method="POST") in replicas.workers


async def test_what_ends_a_worker_is_not_given_to_another(replicas: Replicas) -> None:
    mine = await replicas.who()
    assert (await get(replicas.space.host, "/end")).status == 502
    assert replicas.vanished == [mine], "nothing listened any more when it was tried again"
    assert await replicas.who() != mine


async def test_a_handshake_that_ends_a_worker_is_not_given_to_another(replicas: Replicas) -> None:
    mine = await replicas.who()
    socket = websocket(replicas.space.host, "/end")
    said = await socket.hear()
    assert (said["type"], said["code"]) == ("websocket.close", TRY_AGAIN)
    assert replicas.vanished == [mine]


async def test_what_a_worker_broke_off_at_is_not_given_to_another(replicas: Replicas) -> None:
    """A request that ends its worker would end all of them, one after the other."""
    mine = await replicas.who()
    assert (await get(replicas.space.host, "/vanish")).status == 502
    assert replicas.vanished == [mine, mine]
    assert await replicas.who() == mine, "and its visitors stay: it answers"


async def test_a_worker_that_was_given_up_wrongly_is_used_again(replicas: Replicas) -> None:
    mine = await replicas.who()
    workers = current().workers
    workers.forget(replicas.space.pk, replicas.workers[mine].id)
    assert await replicas.who() != mine

    for _ in range(200):
        if await replicas.who() == mine:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it was never used again")


async def test_a_worker_that_comes_takes_its_share_from_each(replicas: Replicas) -> None:
    before = {client: await replicas.who(client) for client in visitors()}
    await replicas.start(3)
    after = {client: await replicas.who(client) for client in visitors()}
    moved = {client for client in before if before[client] != after[client]}
    assert moved and {after[client] for client in moved} == {3}


async def test_a_space_with_one_worker_sets_no_cookie_and_never_sees_one(space: Space) -> None:
    answer = await get(space.host, "/x", headers={**NAVIGATION, "Cookie": f"{WORKER_COOKIE}=0000"})
    assert answer.all("set-cookie") == []
    assert "cookie" not in dict(answer.json()["headers"])
    assert current().workers._pools[space.pk].peers == ()


async def test_unused_sockets_of_every_worker_are_let_go(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    for client in visitors():
        await replicas.who(client)
    workers = current().workers
    pools = workers._pools[replicas.space.pk].peers
    assert any(pool._spare for pool in pools)
    monkeypatch.setattr("apps.gateway.workers.FORGET_SECONDS", -1.0)
    workers.forget_unused()
    await asyncio.gather(*workers._closing)
    assert all(not pool._open and not pool._spare for pool in pools)


async def join(replicas: Replicas, session: str, client: str, **options: Any) -> Exchange:
    options = {"headers": {"Content-Type": "application/json"}, "body": JOIN % session.encode()} | options
    return await ask("POST", replicas.space.host, "/gradio_api/queue/join", client=client, **options)


async def hear(replicas: Replicas, session: str, client: str, headers: dict[str, str] | None = None) -> int:
    target = f"/gradio_api/queue/data?a=1&session_hash={session}"
    answer = await get(replicas.space.host, target, client=client, headers=headers)
    return int(answer.json()["worker"])


JOIN = b'{"data": ["hello"], "fn_index": 0, "session_hash": "%s"}'


async def test_a_session_stays_with_the_worker_that_it_was_joined_at(replicas: Replicas) -> None:
    """Whatever address its other requests come from, without a cookie."""
    for number, client in enumerate(visitors(10)):
        joined = (await join(replicas, f"session{number}", client)).json()
        assert joined["worker"] == await replicas.who(client), "where its uploads are"
        assert joined["body"] == (JOIN % f"session{number}".encode()).decode(), "the app gets all of it"
        heard = [await hear(replicas, f"session{number}", f"2001:db8::{n}") for n in range(5)]
        assert heard == [joined["worker"]] * 5


async def test_sessions_of_one_address_stay_where_their_cookies_lead(replicas: Replicas) -> None:
    used = set()
    for number in range(20):
        cookie = {"Cookie": f"{WORKER_COOKIE}={number:04x}"}
        headers = {"Content-Type": "application/json", **cookie}
        worker = (await join(replicas, f"s{number}", "203.0.113.9", headers=headers)).json()["worker"]
        assert worker == await hear(replicas, f"s{number}", "203.0.113.9", cookie)
        assert worker == await hear(replicas, f"s{number}", "203.0.113.77")
        used.add(worker)
    assert used == {0, 1, 2}


async def test_a_session_moves_when_its_worker_goes(replicas: Replicas) -> None:
    worker = (await join(replicas, "mine", "203.0.113.9")).json()["worker"]
    await replicas.die(worker)
    moved = {await hear(replicas, "mine", f"203.0.113.{n}") for n in range(5)}
    assert len(moved) == 1 and worker not in moved


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{", {"Content-Type": "application/json"}),
        (b"[" * 30_000, {"Content-Type": "application/json"}),
        (b"[1]", {"Content-Type": "application/json"}),
        (b'{"session_hash": 7}', {"Content-Type": "application/json"}),
        (b'{"session_hash": "' + b"x" * 65 + b'"}', {"Content-Type": "application/json"}),
        (b'{"session_hash": "a b"}', {"Content-Type": "application/json"}),
        (JOIN % b"mine", {"Content-Type": "text/plain"}),
        (JOIN % b"mine" + b" " * 70_000, {"Content-Type": "application/json"}),
        (b"\xff\xfe", {"Content-Type": "application/json"}),
    ],
)
async def test_what_names_no_session_passes_as_ever(replicas: Replicas, body: bytes, headers: dict[str, str]) -> None:
    answer = await join(replicas, "", "203.0.113.9", body=body, headers=headers)
    assert answer.status == 200 and answer.json()["body"] == body.decode("latin-1")
    assert answer.json()["worker"] == await replicas.who()
    assert not current().sessions._visitors


async def test_a_join_whose_body_comes_late_or_in_pieces_is_passed_on_whole(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(affinity, "PEEK_SECONDS", 0.05)
    for first_pause in (0.0, 0.2):
        text = JOIN % b"mine"
        headers = {"Content-Type": "application/json", "Content-Length": str(len(text))}
        exchange = begin("POST", replicas.space.host, "/gradio_api/queue/join", headers=headers, body=None)
        await asyncio.sleep(first_pause)
        exchange.send_body(text[:10])
        await asyncio.sleep(0.1)
        exchange.send_body(text[10:], more=False)
        await exchange.end()
        assert exchange.json()["body"] == text.decode()


async def test_sessions_that_are_remembered_are_bounded(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affinity, "MAX_SESSIONS", 3)
    for number in range(6):
        await hear(replicas, f"s{number}", "203.0.113.9")
    assert [session for _, session in current().sessions._visitors] == [b"s3", b"s4", b"s5"]


async def test_a_new_visitors_page_goes_to_the_worker_that_is_used_least(replicas: Replicas) -> None:
    streams = []
    leads_to = {await replicas.who(cookie=f"{n:04x}"): f"{n:04x}" for n in range(30)}
    for number in (0, 2):
        headers = {"Cookie": f"{WORKER_COOKIE}={leads_to[number]}"}
        streams.append(begin("GET", replicas.space.host, "/app/events", headers=headers))
        await streams[-1].next_chunk()
    for _ in range(10):
        page = await get(replicas.space.host, "/who", headers=NAVIGATION)
        assert page.json()["worker"] == 1 == await replicas.who(cookie=given(page))
    for stream in streams:
        stream.disconnect()
        await stream.end()
