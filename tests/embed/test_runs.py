"""Runs over a websocket: what may be said, what of it is kept, and that the document of it is one."""

from __future__ import annotations

import ast
import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from django.utils import timezone
from jsonschema import Draft7Validator

from apps.embed import calls, consumers
from apps.embed import runs as runs_module
from apps.embed.elsewhere import Relays
from apps.embed.endpoints import endpoints
from apps.embed.inside import Caller
from apps.embed.messages import MAX_DEPTH, MAX_MESSAGE_BYTES, Cancel, Resume, Start, read
from apps.embed.runs import MAX_LOGS, Refused, Run, Runs, functions, runs
from apps.gateway.asgi import shut_down
from apps.gateway.routes import Route
from apps.spaces.models import Space
from apps.spaces.services import set_password
from portal.asgi import application
from tests.embed.test_api_page import INFO, describe
from tests.patient_socket import PatientSocket
from tests.running_portal import ROOT
from tests.waiting import until

SPECIFICATION = ROOT / "tests" / "clients" / "node_modules" / "@asyncapi" / "specs" / "schemas" / "3.0.0.json"
ROUTE = Route(1, "ada/hello", 1, "ada-hello", False, False, "RUNNING", "", "gradio", False)


def test_messages_are_read() -> None:
    assert read('{"endpoint": "/greet", "data": [1]}') == Start(endpoint="/greet", data=[1])
    assert read('{"type": "run", "endpoint": 3, "id": "a"}') == Start(endpoint=3, id="a")
    assert read('{"type": "cancel", "run": "x"}') == Cancel(type="cancel", run="x")
    assert read('{"type": "resume", "run": "x", "event_id": 4}') == Resume(type="resume", run="x", event_id=4)
    deep = f'{{"endpoint": 1, "data": {"[" * (MAX_DEPTH - 1)}{"]" * (MAX_DEPTH - 1)}}}'
    assert isinstance(read(deep), Start)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"), ("{", "not JSON"), ('{"endpoint": NaN}', "not JSON"), ("[" * 100_000, "not JSON"),
        ("[]", "a JSON object"), ('"x"', "a JSON object"), ("{}", "endpoint: Field required"),
        ('{"endpoint": "/x", "data": {}}', "data: Input should be a valid list"),
        ('{"endpoint": true}', "endpoint"), ('{"endpoint": 1.5}', "endpoint"), ('{"endpoint": "/x", "dat": []}', "dat"),
        ('{"endpoint": "/x", "id": ""}', "id: String should have at least 1"), ('{"type": "x"}', "run, cancel, resume"),
        ('{"type": ["run"]}', "run, cancel, resume"), ('{"type": "resume", "run": "x", "event_id": -1}', "event_id"),
        (f'{{"endpoint": 1, "data": {"[" * MAX_DEPTH}{"]" * MAX_DEPTH}}}', "deeper than"),
        (json.dumps({"endpoint": "x" * MAX_MESSAGE_BYTES}), "1 MiB"), (f'"{"é" * (MAX_MESSAGE_BYTES // 2)}"', "1 MiB"),
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused_in_plain_words(text: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        read(text)


def test_what_may_be_called_is_read_from_the_apps_word() -> None:
    config = {
        "components": [{"id": 1, "type": "state"}, {"id": 2, "type": "textbox"}, None, {"id": 4, "skip_api": True}],
        "dependencies": [
            {"id": 0, "api_name": "greet", "inputs": [2, 1], "outputs": [1, 2]},
            {"id": 1, "api_name": None, "inputs": [4], "outputs": []},
            {"id": 2, "api_name": False, "inputs": [], "outputs": []},
            {"id": 3, "api_name": "kept", "api_visibility": "private", "inputs": [], "outputs": []},
            {"id": 4, "api_name": "js", "backend_fn": False, "inputs": [], "outputs": []},
            {"id": "5", "api_name": "x", "inputs": [], "outputs": []},
            {"id": 6, "api_name": "y", "inputs": [{}], "outputs": []},
            7,
        ],
    }
    found = functions(config)
    assert list(found) == ["greet", 1]
    assert found["greet"].inputs(["Bob"]) == ["Bob", None]
    assert found["greet"].outputs([None, "Hello"]) == ["Hello"]
    with pytest.raises(Refused, match="takes 1 value, in a list; 2 came"):
        found["greet"].inputs(["Bob", None])
    assert not any(map(functions, ({}, [], None, {"dependencies": 5}, {"dependencies": [{}]})))


def made(**more: Any) -> Run:
    caller = Caller(**{"route": ROUTE, "address": "192.0.2.1", **more})
    return Run(runs.new_id(), caller, "/greet", [], label="mine", known=None, learnt=lambda found: None)


def told(run: Run, after: int = 0) -> list[dict[str, Any]]:
    return [json.loads(event.text) for event in run.after(after)]


async def test_of_what_overtakes_itself_the_newest_alone_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    (function,) = functions({"dependencies": [{"id": 0, "api_name": "greet", "inputs": [], "outputs": [2]}]}).values()
    run = made()
    runs.add(run)
    for n in range(300):
        for said in (
            {"msg": "estimation", "rank": 0, "queue_size": 3},
            {"msg": "process_generating", "success": True, "output": {"data": ["x" * 10_000 + str(n)]}},
            {"msg": "log", "log": "l" * 5_000, "level": "shouting"},
            {"msg": "progress", "progress_data": [{"index": n, "length": 300}] * 50},
            {"msg": "progress", "progress_data": 5}, {"msg": "nonsense"}, {"msg": ["estimation"]},
        ):  # fmt: skip
            run._pass_on(function, said)
    assert run.size < 80_000
    kinds = [message["type"] for message in told(run)]
    assert kinds.count("partial") == kinds.count("queue") == kinds.count("progress") == kinds.count("status") == 1
    assert kinds.count("log") == MAX_LOGS
    numbers = [message["event_id"] for message in told(run)]
    assert numbers == sorted(set(numbers))
    assert told(run, numbers[-1]) == []
    run._pass_on(function, {"msg": "process_completed", "success": True, "output": {"data": [1], "duration": "x"}})
    run._pass_on(function, {"msg": "process_completed", "success": False, "output": {"error": "late"}})
    assert [m["type"] for m in told(run, numbers[-1])] == ["result"] and run.ended and not run.failed
    assert told(run)[-1]["id"] == "mine"

    assert runs.find(run.id, Caller(ROUTE, "192.0.2.9").who) is run
    assert runs.find(run.id, Caller(ROUTE, "192.0.2.1", user_id=5).who) is None, "another visitor's"
    monkeypatch.setattr(runs_module, "MAX_REMEMBERED_BYTES", 1)
    other = made(user_id=5)
    runs.add(other)
    other.give_up()
    assert runs.find(run.id, run.caller.who) is None, "forgotten for the room that it took"
    assert runs.find(other.id, other.caller.who) is other


async def test_a_run_that_nobody_follows_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "HOLD_SECONDS", 0.01)
    run = made()
    news: list[int] = []

    def follower() -> None:
        news.append(1)

    run.follow(follower)
    run.leave(lambda: None)
    run.leave(follower)
    run.follow(follower)
    await asyncio.sleep(0.03)
    assert not run.ended, "somebody follows it again"
    run.leave(follower)
    await asyncio.sleep(0.03)
    assert [message["type"] for message in told(run)] == ["cancelled"]


def socket(name: str = "hello") -> PatientSocket:
    return PatientSocket(application, f"/ws/spaces/ada/{name}/run", headers=[(b"host", b"localhost")])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("fields", "code", "why"),
    [
        ({"taken_down_at": timezone.now()}, 4410, "taken this Space down"), ({"sdk": "static"}, 4400, "Only Gradio"),
        ({"stage": "PAUSED"}, 4503, "is paused"), ({"stage": "BUILD_ERROR"}, 4503, "could not be built"),
        ({"visibility": "private"}, 4404, "no Space at this address"),
    ],
)  # fmt: skip
async def test_where_nothing_can_be_run_the_last_words_say_why(
    space: Space, fields: dict[str, Any], code: int, why: str
) -> None:
    await Space.objects.filter(pk=space.pk).aupdate(**fields)
    asks = socket()
    await asks.connect()
    await asks.send_json_to({"endpoint": "/greet"})
    assert why in (await asks.receive_json_from())["message"]
    assert (await asks.receive_output())["code"] == code
    await asks.disconnect()
    await shut_down()


@pytest.mark.django_db(transaction=True)
async def test_a_password_lets_in_and_an_idle_socket_is_closed(
    space: Space, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    await sync_to_async(set_password)(space, "open-sesame-please")
    monkeypatch.setattr(consumers, "IDLE_SECONDS", 0.3)
    settings.PORTICO_CONNECTIONS_PER_ADDRESS = 1
    asks, second = socket(), socket()
    for one in (asks, second):
        one.scope["client"] = ("192.0.2.1", 1)
        await one.connect()
    assert (await second.receive_json_from())["code"] == "too_many_requests"
    assert (await second.receive_output())["code"] == 4429
    for said, heard in (
        ({"endpoint": "/greet"}, "password_required"), ({"type": "auth", "password": "wrong"}, "password_required"),
        ({"type": "auth", "token": "hf_wrong"}, "bad_token"), ({"type": "auth"}, "bad_message"),
    ):  # fmt: skip
        await asks.send_json_to(said)
        assert (await asks.receive_json_from())["code"] == heard
    await asks.send_json_to({"type": "auth", "password": "open-sesame-please"})
    assert await asks.receive_json_from() == {"type": "authorized"}
    assert (await asks.receive_output())["code"] == 4408
    for one in (asks, second):
        await one.disconnect()
    await shut_down()


@pytest.mark.django_db(transaction=True)
async def test_a_run_is_taken_up_from_another_process(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket's process is this one too, but knows no runs: all that it has of them passes the channel layer."""
    (function,) = functions({"dependencies": [{"id": 0, "api_name": "greet", "inputs": [], "outputs": [2]}]}).values()
    run = made(route=replace(ROUTE, space_id=space.pk))
    there = Relays(runs)
    await there.listen()
    runs.add(run)
    monkeypatch.setattr(consumers, "runs", Runs())
    monkeypatch.setattr(consumers, "ANSWER_SECONDS", 0.2)

    def partial(n: int) -> None:
        run._pass_on(function, {"msg": "process_generating", "success": True, "output": {"data": [n]}})

    partial(1)
    one = socket()
    await one.connect()
    await one.send_json_to({"type": "resume", "run": run.id})
    assert (await one.receive_json_from())["data"] == [1]
    partial(2)
    assert (await one.receive_json_from())["data"] == [2]
    await one.disconnect()
    await until(lambda: not there._relays)
    assert run._timer is not None and not run.ended, "held for whoever takes it up again"
    partial(3)
    other = socket()
    await other.connect()
    for wanted in (f"{'0' * 12}.nothing", "nothing"):
        await other.send_json_to({"type": "resume", "run": wanted})
        assert (await other.receive_json_from())["code"] == "no_such_run"
    await other.send_json_to({"type": "resume", "run": run.id, "event_id": 2})
    assert (await other.receive_json_from())["data"] == [3]
    await other.send_json_to({"type": "cancel", "run": run.id})
    assert (await other.receive_json_from())["type"] == "cancelled"
    await other.disconnect()
    await until(lambda: not there._relays)
    await shut_down()


def test_the_asyncapi_document_is_one(client: Client, space: Space) -> None:
    describe(space)
    answer = client.get("/spaces/ada/hello/asyncapi.json")
    document = answer.json()
    Draft7Validator(json.loads(SPECIFICATION.read_text())).validate(document)
    assert document["channels"]["run"]["address"] == "/ws/spaces/ada/hello/run"
    assert document["servers"]["portal"]["host"] == calls.socket_address(space).split("/")[2]
    assert answer["Access-Control-Allow-Origin"] == "*" and "security" not in document["servers"]["portal"]
    messages = document["components"]["messages"]
    for endpoint in endpoints(INFO)[:-1]:
        (payload,) = [m["payload"] for m in messages.values() if m.get("title") == f"Run {endpoint.name}"]
        Draft7Validator.check_schema(payload)
        assert Draft7Validator(payload).is_valid({"endpoint": endpoint.name, "data": endpoint.data})
        assert not Draft7Validator(payload).is_valid({"endpoint": endpoint.name, "data": [1] * 9})
    for operation in document["operations"].values():
        for message in operation["messages"]:
            assert message["$ref"].rpartition("/")[2] in messages
    Space.objects.filter(pk=space.pk).update(visibility="private")
    assert client.get("/spaces/ada/hello/asyncapi.json").status_code == 404


def test_the_websocket_snippet_holds_any_value(space: Space) -> None:
    greet, _, _, _, unnamed = endpoints(INFO)
    sent = next(
        ast.literal_eval(node.args[0])
        for node in ast.walk(ast.parse(calls.websocket(space, greet)))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "dumps"
    )
    assert sent == {"endpoint": "/greet", "data": greet.data}
    assert "'endpoint': 3" in calls.websocket(space, unnamed)
