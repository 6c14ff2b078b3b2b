"""Runs over a websocket, against a really running portal and a real Gradio app."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from jsonschema import Draft7Validator
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.e2e.test_first_page import put_to_sleep
from tests.running_portal import RunningPortal, child

pytestmark = pytest.mark.integration
ENDS = ("result", "error", "cancelled")


class Caller:
    """A program that runs endpoints of one Space."""

    def __init__(self, portal: RunningPortal, name: str = "open", buffer: int | None = None, **headers: str) -> None:
        address = f"ws{portal.url.removeprefix('http')}/ws/spaces/ada/{name}/run"
        options: dict[str, Any] = {"proxy": None, "max_size": None, "max_queue": 1, "compression": None}
        origin = headers.pop("Origin", None)
        if buffer is not None:
            options["sock"] = sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            sock.connect(("127.0.0.1", portal.port))
        self._connection = connect(address, origin=origin, additional_headers=headers, **options)
        self.heard: list[dict[str, Any]] = []

    def __enter__(self) -> Caller:
        self.socket: ClientConnection = self._connection.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.__exit__(None, None, None)

    def say(self, **message: Any) -> Caller:
        self.socket.send(json.dumps(message))
        return self

    def hear(self, seconds: float = 30) -> dict[str, Any]:
        message = json.loads(self.socket.recv(seconds))
        self.heard.append(message)
        return message

    def until(self, *types: str, of: str | None = None) -> dict[str, Any]:
        """Hear until a message of one of these types comes, of the run that is called `of`."""
        while (message := self.hear())["type"] not in types or (of is not None and message.get("id") != of):
            pass
        return message

    def run(self, endpoint: str, *data: Any) -> dict[str, Any]:
        """Run it and return how it ended."""
        self.say(endpoint=endpoint, data=data)
        return self.until(*ENDS)

    def closed(self) -> int:
        """The code that the socket is closed with."""
        with pytest.raises(ConnectionClosed) as closing:
            while True:
                self.hear()
        assert closing.value.rcvd is not None
        return closing.value.rcvd.code


@pytest.fixture
def caller(portal: RunningPortal) -> Iterator[Caller]:
    with Caller(portal) as caller:
        yield caller


def test_runs_go_on_side_by_side_and_tell_how_far_they_are(portal: RunningPortal, caller: Caller) -> None:
    put_to_sleep(portal, "open")
    for name in ("a", "b", "g"):
        caller.say(endpoint="/slowly", data=[0.4], id=name)
    caller.say(type="run", endpoint="count", data=[4], id="c").say(endpoint="/fails", id="d")
    caller.say(endpoint="/missing", id="e").say(endpoint="/greet", data=["Bob"], id="f")
    ended: dict[str, dict[str, Any]] = {}
    while len(ended) < 7:
        message = caller.until(*ENDS)
        ended[message["id"]] = message
    assert ended["a"]["data"] == ended["b"]["data"] == ["done"] and ended["a"]["duration"] >= 0.4
    assert ended["c"]["data"] == ["counted 4"], "without the state that the app keeps"
    assert (ended["d"]["code"], ended["d"]["message"]) == ("app_error", "It may not be.")
    assert ended["e"]["code"] == "no_such_endpoint" and "/greet" in ended["e"]["message"]
    assert ended["f"]["code"] == "bad_data" and "takes 2 values" in ended["f"]["message"]

    def of(kind: str, *names: str) -> list[dict[str, Any]]:
        return [message for message in caller.heard if message["type"] == kind and message["id"] in names]

    states = [message["status"] for message in of("status", "a")]
    assert states == ["pending", "waking", "queued", "running"]
    assert max(message["position"] for message in of("queue", "a", "b", "g")) >= 2, "one at a time"
    bars = [message["progress"][0] for message in of("progress", "a")]
    assert bars[0]["desc"] == "Beginning" and {bar["progress"] for bar in bars} >= {0.2, 0.6}
    assert [(message["level"], message["message"]) for message in of("log", "a")] == [("info", "Nearly there")]
    assert [message["data"][0] for message in of("partial", "c")][-1] in ("counted 3", "counted 4"), "whole, no changes"
    for name in "abcdefg":
        numbers = [message["event_id"] for message in caller.heard if message["id"] == name]
        assert numbers == sorted(set(numbers))

    document = json.loads(portal.get("/spaces/ada/open/asyncapi.json")[1])
    told = [m["payload"] for key, m in document["components"]["messages"].items() if key.startswith("told_")]
    stated = Draft7Validator({"oneOf": told})
    for message in caller.heard:
        stated.validate(message)


def test_a_run_that_is_cancelled_stops_the_app(caller: Caller) -> None:
    caller.say(endpoint="/count", data=[1000], id="far").until("partial")
    caller.say(endpoint="/count", data=[1000], id="waits").until("queue", of="waits")
    caller.say(type="cancel", id="waits")
    assert caller.until(*ENDS)["type"] == "cancelled" and caller.heard[-1]["id"] == "waits"
    run = caller.until("partial", of="far")["run"]
    caller.say(type="cancel", run=run)
    assert caller.until(*ENDS)["type"] == "cancelled" and caller.heard[-1]["run"] == run
    time.sleep(0.3)
    first = caller.run("/counted")["data"]
    time.sleep(0.3)
    assert caller.run("/counted")["data"] == first
    assert caller.run("/count", 1)["data"] == ["counted 1"], "the next one's turn has come"
    caller.say(endpoint="/naps", data=[300], id="nap").until("status", of="nap")
    while caller.hear().get("status") != "running":
        pass
    caller.say(type="cancel", id="nap")
    assert caller.until(*ENDS)["type"] == "cancelled"
    assert caller.run("/naps", 0)["data"] == ["awake"], "it was ended as it slept"
    caller.say(type="cancel", run="nothing")
    assert caller.hear()["code"] == "no_such_run"


def test_a_run_is_followed_over_another_socket(portal: RunningPortal, token: str) -> None:
    with Caller(portal) as first:
        begun = first.say(endpoint="/count", data=[30], id="mine").until("partial")
    with Caller(portal, Authorization=f"Bearer {token}") as other:
        assert other.say(type="resume", run=begun["run"]).hear()["code"] == "no_such_run", "another visitor's"
    with Caller(portal) as second:
        second.say(type="resume", run=begun["run"], event_id=begun["event_id"])
        result = second.until(*ENDS)
        assert result["data"] == ["counted 30"] and result["id"] == "mine"
        assert all(message["event_id"] > begun["event_id"] for message in second.heard)
    with Caller(portal) as third:
        third.say(type="resume", run=begun["run"], event_id=result["event_id"] - 1)
        assert third.hear() == result, "also after it has ended"


@pytest.mark.parametrize("name", ["open", "closed"])
def test_files_come_from_and_go_to_where_curl_has_them(portal: RunningPortal, token: str, name: str) -> None:
    allowed = {"Authorization": f"Bearer {token}"} if name == "closed" else {}
    api = f"{portal.url}/run/ada/{name}/gradio_api"
    form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nquiet\r\n--x--\r\n'
    headers = {**allowed, "Content-Type": "multipart/form-data; boundary=x"}
    with urlopen(Request(f"{api}/upload", form, headers)) as answer:
        (path,) = json.load(answer)
    with Caller(portal, name, **allowed) as caller:
        (file,) = caller.run("/shout", {"path": path, "meta": {"_type": "gradio.FileData"}})["data"]
    assert file["url"].startswith(f"{api}/file=")
    with urlopen(Request(file["url"], headers=allowed)) as answer:
        assert answer.read() == b"QUIET"


def test_who_does_not_read_holds_up_nobody(portal: RunningPortal) -> None:
    def memory() -> int:
        return int(Path(f"/proc/{child(portal, 'web')}/statm").read_text().split()[1]) * 4096

    with Caller(portal, buffer=65536) as caller, Caller(portal) as other:
        assert other.run("/flood", 2)["type"] == "result"
        before = memory()
        caller.say(endpoint="/flood", data=[400], id="flood").hear()
        assert other.run("/flood", 1)["type"] == "result", "its turn comes when the first has ended"
        assert caller.until(*ENDS, of="flood")["data"][0].endswith("x399")
        assert memory() - before < 24 * 1024**2, "80 MB came"


def test_hostile_messages_are_refused_and_end_the_socket_when_there_are_many(portal: RunningPortal) -> None:
    with Caller(portal) as caller:
        for message in ("{", b"{}", "[" * 50_000, '{"endpoint": ["/greet"]}', json.dumps({"endpoint": "x" * 1024**2})):
            caller.socket.send(message)
            assert caller.hear()["code"] in ("bad_message", "too_large")

        def flood() -> None:
            with contextlib.suppress(ConnectionClosed):
                for _ in range(1000):
                    caller.say(endpoint="/slowly", data=[20])

        sending = threading.Thread(target=flood)
        sending.start()
        assert caller.closed() == 1008
        sending.join(10)
        begun = {message["run"] for message in caller.heard if message["type"] == "status"}
        assert len(begun) == 8
        assert sum(message.get("code") == "too_many_runs" for message in caller.heard) < 100
    with Caller(portal) as caller:
        for run in begun:
            caller.say(type="cancel", run=run)
        assert caller.run("/slowly", 0.1)["data"] == ["done"]


PREPARE = """
import json
from django.test import Client
from apps.accounts.models import User
from apps.spaces.links import address_of, make_link
from apps.spaces.models import Space
ada, client = User.objects.get(username="ada"), Client(HTTP_HOST="localhost")
client.force_login(ada)
link = address_of(make_link(Space.objects.get(name="closed"), "hour", user=ada)).partition("__sign=")[2]
print(json.dumps(["; ".join(f"{name}={one.value}" for name, one in client.cookies.items()), link]))
"""


def test_a_private_space_is_there_for_those_who_may(portal: RunningPortal, token: str) -> None:
    signed_in, link = json.loads(portal.shell(PREPARE))
    cookie = {"Cookie": signed_in}
    answers = []
    for name, headers in (
        ("never-was", {}), ("closed", {}), ("closed", {"Authorization": "Bearer hf_wrong"}), ("closed", cookie),
        ("closed", {**cookie, "Origin": "https://evil.example"}), ("closed", {"Origin": portal.url}),
    ):  # fmt: skip
        with Caller(portal, name, **headers) as stranger:
            stranger.say(endpoint="/greet", data=["Bob", 1])
            assert stranger.closed() == 4404
            answers.append(stranger.heard)
    assert all(answer == answers[0] for answer in answers), "as for a name that never was"
    with pytest.raises(InvalidStatus, match="403"):
        Caller(portal, Origin="null")
    for headers in ({"Authorization": f"Bearer {token}"}, {**cookie, "Origin": portal.url}):
        with Caller(portal, "closed", **headers) as owner:
            assert owner.run("/greet", "Ada", 1)["data"] == ["Hello Ada!"]
    for given in ({"token": token}, {"link": link}):
        with Caller(portal, "closed", Origin="https://blog.example") as guest:
            assert guest.say(type="auth", **given).hear() == {"type": "authorized"}
            assert guest.run("/greet", "Bob", 1)["data"] == ["Hello Bob!"]
