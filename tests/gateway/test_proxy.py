from __future__ import annotations

import asyncio
from typing import Any

import pytest

from apps.spaces.models import Space
from tests.gateway.asgi_client import ask, begin, get
from tests.gateway.conftest import StandInAgent, without_connections

Upstream = tuple[int, dict[str, Any]]
pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_request_arrives_as_it_was_sent(space: Space) -> None:
    answer = await ask(
        "POST", space.host, "/a%2Fb//c?x=%20y&x=2", body=b"hello", headers={"Content-Type": "text/x", "X-Own": "1"}
    )
    assert answer.status == 200
    seen = answer.json()
    assert (seen["method"], seen["target"], seen["body"]) == ("POST", "/a%2Fb//c?x=%20y&x=2", "hello")
    headers = dict(seen["headers"])
    assert headers["host"] == space.host
    assert headers["content-type"] == "text/x" and headers["x-own"] == "1"
    assert "user-agent" not in headers and "accept-encoding" not in headers


async def test_every_method_passes(space: Space) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"):
        assert (await ask(method, space.host, "/x")).json()["method"] == method


async def test_who_asks_is_said_by_the_gateway_alone(space: Space) -> None:
    forged = {
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "gopher",
        "X-Forwarded-Anything": "x",
        "Forwarded": "for=1.2.3.4",
        "X-Real-IP": "1.2.3.4",
    }
    headers = dict((await get(space.host, "/x", headers=forged)).json()["headers"])
    assert headers["x-forwarded-for"] == "203.0.113.9"
    assert headers["x-forwarded-host"] == space.host
    assert headers["x-forwarded-proto"] == "http"
    assert not headers.keys() & {"x-forwarded-anything", "forwarded", "x-real-ip"}


async def test_a_trusted_proxy_says_who_asks(space: Space, settings: Any) -> None:
    settings.PORTICO_TRUSTED_PROXIES = ["10.0.0.1", "10.0.0.2"]
    chain = {"X-Forwarded-For": "6.6.6.6, 198.51.100.7, 10.0.0.2"}
    headers = dict((await get(space.host, "/x", headers=chain, client="10.0.0.1")).json()["headers"])
    assert headers["x-forwarded-for"] == "198.51.100.7"


async def test_hop_by_hop_headers_end_here(space: Space) -> None:
    sent = {
        "Connection": "keep-alive, X-Private",
        "X-Private": "1",
        "TE": "trailers",
        "Upgrade": "h2c",
        "Proxy-Authorization": "Basic x",
        "Keep-Alive": "5",
        "Expect": "100-continue",
    }
    headers = dict((await get(space.host, "/x", headers=sent)).json()["headers"])
    assert not headers.keys() & {"x-private", "te", "upgrade", "proxy-authorization", "keep-alive", "expect"}


async def test_what_an_app_may_not_say_is_dropped_and_the_rest_passes(space: Space) -> None:
    answer = await get(space.host, "/headers")
    dropped = """x-frame-options x-accel-redirect clear-site-data strict-transport-security alt-svc server x-hop
        connection access-control-allow-origin access-control-expose-headers"""
    for name in dropped.split():
        assert answer.get(name) is None, name
    assert answer.get("x-kept") == "yes"
    assert answer.all("content-security-policy") == ["default-src 'self'", "frame-ancestors *"]
    assert answer.get("vary") == "Accept, Origin"


async def test_an_apps_cookies_stay_on_its_host(space: Space) -> None:
    answer = await get(space.host, "/cookies")
    assert answer.all("set-cookie") == ["a=1; Path=/; HttpOnly", "b=2; path=/"]


async def test_the_portals_cookies_never_reach_an_app(space: Space) -> None:
    cookies = {"Cookie": "portico_session=s; theirs=1; portico_csrf=c; portico_access=a; more=2"}
    assert dict((await get(space.host, "/x", headers=cookies)).json()["headers"])["cookie"] == "theirs=1; more=2"
    only_ours = await get(space.host, "/x", headers={"Cookie": "portico_session=s"})
    assert "cookie" not in dict(only_ours.json()["headers"])


async def test_events_arrive_one_by_one(space: Space, upstream: Upstream) -> None:
    stream = begin("GET", space.host, "/events")
    assert await stream.next_chunk() == b"data: 0\n\n"
    for number in (b"1", b"2"):
        upstream[1]["go"].put_nowait(b"data: " + number + b"\n\n")
        assert await stream.next_chunk() == b"data: " + number + b"\n\n"
    upstream[1]["go"].put_nowait(None)
    await stream.end()
    assert stream.get("content-type") == "text/event-stream" and stream.ended.is_set()


async def test_an_upload_streams_while_it_is_sent(space: Space, upstream: Upstream) -> None:
    sending = begin("POST", space.host, "/upload", headers={"Transfer-Encoding": "chunked"}, body=None)
    sending.send_body(b"one")
    while "chunks" not in upstream[1]:
        await asyncio.sleep(0.01)
    assert await asyncio.wait_for(upstream[1]["chunks"].get(), 10) == b"one"
    sending.send_body(b"two", more=False)
    await sending.end()
    assert sending.json() == {"size": 6}


async def test_a_client_that_goes_away_ends_the_apps_work(space: Space, upstream: Upstream) -> None:
    for path, sign in (("/hang", "hanging"), ("/events", "go")):
        upstream[1].clear()
        asking = begin("GET", space.host, path)
        while sign not in upstream[1]:
            await asyncio.sleep(0.01)
        asking.disconnect()
        await asking.end()
        for _ in range(300):
            if upstream[1].get("cancelled"):
                break
            await asyncio.sleep(0.01)
        assert upstream[1].get("cancelled"), path


async def test_head_and_answers_without_a_body(space: Space) -> None:
    head = await ask("HEAD", space.host, "/x")
    assert head.status == 200 and head.body == b"" and int(head.get("content-length") or 0) > 0
    for status in (204, 304):
        answer = await get(space.host, f"/nothing?status={status}")
        assert (answer.status, answer.body, answer.get("etag")) == (status, b"", '"x"')


async def test_coded_bodies_are_left_as_they_are(space: Space) -> None:
    answer = await get(space.host, "/coded")
    assert answer.get("content-encoding") == "gzip" and answer.body == b"\x1f\x8bnot really gzip"


async def test_redirects_are_the_clients_to_follow(space: Space) -> None:
    answer = await get(space.host, "/redirect?to=/there")
    assert answer.status == 302 and answer.get("location") == "/there"


async def test_an_answer_that_breaks_off_does_not_look_complete(space: Space) -> None:
    answer = await get(space.host, "/break-off")
    assert answer.status == 200 and answer.body == b"half"
    assert answer.aborted and not answer.ended.is_set()


async def test_an_idempotent_request_is_repeated_once_and_others_are_not(space: Space, upstream: Upstream) -> None:
    assert (await get(space.host, "/vanish?times=1")).text == "here"
    assert upstream[1]["asked"] == 2
    upstream[1].clear()
    refused = await get(space.host, "/vanish?times=9")
    assert refused.status == 502 and refused.json()["error"] == "bad_gateway" and upstream[1]["asked"] == 2
    upstream[1].clear()
    assert (await ask("POST", space.host, "/vanish?times=1", body=b"x")).status == 502
    assert upstream[1]["asked"] == 1


async def test_a_worker_that_was_replaced_is_found_again(space: Space, agent: StandInAgent) -> None:
    assert (await get(space.host, "/x")).status == 200
    agent.end(space.pk)
    await without_connections(space)
    assert (await ask("POST", space.host, "/x", body=b"not sent twice")).status == 200
    assert agent.ensured == [space.pk, space.pk]


async def test_connections_are_used_again_and_sockets_kept_few(space: Space, agent: StandInAgent) -> None:
    for _ in range(20):
        assert (await get(space.host, "/x")).status == 200
    assert agent.sockets <= 6
    answers = await asyncio.gather(*(get(space.host, "/x") for _ in range(30)))
    assert {a.status for a in answers} == {200}


async def test_activity_is_reported_promptly(space: Space, agent: StandInAgent, upstream: Upstream) -> None:
    stream = begin("GET", space.host, "/events")
    await stream.next_chunk()
    for _ in range(300):
        if agent.activity:
            break
        await asyncio.sleep(0.01)
    assert agent.activity[-1] == {space.pk: 1}
    stream.disconnect()
    await stream.end()
