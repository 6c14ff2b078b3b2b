"""How programs call a Space, as its page and its OpenAPI document say it."""

from __future__ import annotations

import ast
import json
import re
import shlex
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from openapi_spec_validator import validate

from apps.accounts.models import User
from apps.builds.models import Build, Deployment
from apps.embed import calls
from apps.embed.endpoints import MAX_CHARACTERS, MAX_ENDPOINTS, MAX_PARAMETERS, endpoints
from apps.gateway.models import Snapshot
from apps.gateway.snapshots import Kept, pack
from apps.spaces.models import Space
from apps.spaces.services import set_password

FILE = {"path": "https://example.org/a.png", "meta": {"_type": "gradio.FileData"}}


def parameter(name: str, component: str = "Textbox", example: Any = "Hello", **more: Any) -> dict[str, Any]:
    return {
        "label": name.title(), "parameter_name": name, "parameter_has_default": False, "parameter_default": None,
        "type": {"type": "string"}, "python_type": {"type": "str", "description": ""}, "component": component,
        "example_input": example, **more,
    }  # fmt: skip


INFO: dict[str, Any] = {
    "named_endpoints": {
        "/greet": {
            "description": "Greets <people>.",
            "parameters": [
                parameter("name", example="O'Brien \"x\" $HOME `id` \\ é\nnext"),
                parameter(
                    "times", "Number", 3, type={"type": "number"}, parameter_has_default=True, parameter_default=1,
                    python_type={"type": "float", "description": "how often"},
                ),
            ],
            "returns": [{"label": "greeting", "component": "Textbox", "python_type": {"type": "str"}}],
        },
        "/look": {"parameters": [parameter("image", "Image", FILE, type={"$ref": "#/$defs/x"})], "returns": []},
        "/a b": {"parameters": [parameter("class"), parameter("not one")], "returns": []},
        "/nested/ping": {"parameters": [], "returns": []},
    },
    "unnamed_endpoints": {"3": {"parameters": [], "returns": []}},
}  # fmt: skip


def describe(space: Space, info: Any = INFO, config: Any = None, **fields: Any) -> None:
    """As if its page had been taken."""
    build = Build.objects.create(space=space, revision="0" * 40, state=Build.State.SUCCEEDED)
    deployment = Deployment.objects.create(
        space=space, build=build, revision="0" * 40, sdk="gradio", app_file="app.py", startup_seconds=60
    )
    answers = {"/gradio_api/info": Kept([], json.dumps(info).encode())}
    if config is not None:
        answers["/config"] = Kept([], json.dumps(config).encode())
    defaults = {"digest": "d", "content": pack(space.host, answers), "inputs": "x"}
    Snapshot.objects.create(deployment=deployment, **{**defaults, **fields})


def page(client: Client, status: int = 200) -> str:
    answer = client.get("/spaces/ada/hello/api")
    assert answer.status_code == status
    return answer.content.decode()


def test_the_page_says_what_can_be_called(client: Client, space: Space) -> None:
    describe(space, config={"mcp_server": True})
    html = page(client)
    for text in ("/greet", "Greets &lt;people&gt;.", "how often", "required", f"{settings.PORTICO_URL}/run/ada/hello/"):
        assert text in html
    assert f"{settings.PORTICO_URL}/run/ada/hello/gradio_api/mcp/" in html
    assert "HF_TOKEN" not in html and "csrfmiddlewaretoken" not in html.partition("api-title")[2]
    assert f"{calls.socket_address(space)}" in html and "/spaces/ada/hello/asyncapi.json" in html
    assert re.findall(r'<label for="(endpoint-1-\d)"', html) == ["endpoint-1-1", "endpoint-1-2"]
    assert html.count("data-try") == 5


def test_the_page_gives_an_example_of_each_parameter(client: Client, space: Space) -> None:
    """Of a file, where it is: not the words that Gradio's own class has for programmers."""
    info = {"named_endpoints": {"/look": {"parameters": [
        parameter("name", example=["a", 1]), parameter("image", "Image", FILE, python_type={
            "type": "filepath", "description": "The FileData class"}), parameter("nothing", example=None),
    ]}}}  # fmt: skip
    describe(space, info)
    text = page(client)
    examples = re.findall(r'api-example">(.*?)</span>', text)
    assert examples == ["[&quot;a&quot;, 1]", "&quot;https://example.org/a.png&quot;", "–"]
    assert "A file of yours, or the address of one." in text and "FileData class" not in text


def test_before_its_first_start_the_page_says_so(client: Client, space: Space) -> None:
    assert "asked what it offers when it starts" in page(client)
    assert client.get("/spaces/ada/hello/openapi.json").status_code == 404


def test_where_there_is_no_snapshot_the_page_says_why(client: Client, space: Space) -> None:
    describe(space, digest="", content=b"", refusal="it asks for a login")
    assert "it asks for a login" in page(client)
    assert "it asks for a login" in client.get("/spaces/ada/hello/openapi.json").json()["error"]


@pytest.mark.parametrize("content", [b"", b"broken", pack("h", {}), pack("h", {"/gradio_api/info": Kept([], b"[")})])
def test_what_cannot_be_read_is_nothing(client: Client, space: Space, content: bytes) -> None:
    describe(space, content=content)
    assert "Nothing to call yet" in page(client)


def test_a_closed_space_is_called_with_a_token(client: Client, space: Space, ada: User) -> None:
    describe(space)
    Space.objects.filter(pk=space.pk).update(visibility="private")
    assert client.get("/spaces/ada/hello/api").status_code == 404
    assert client.get("/spaces/ada/hello/openapi.json").status_code == 404
    client.force_login(ada)
    html = page(client)
    assert "Create a token" in html and "/spaces/ada/hello/api/upload" in html
    assert html.count("HF_TOKEN") >= 5
    answer = client.get("/spaces/ada/hello/openapi.json")
    assert answer.json()["security"] == [{"token": []}]
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_files_are_taken_for_who_is_signed_in_and_by_the_portals_own_pages_alone(space: Space, ada: User) -> None:
    Space.objects.filter(pk=space.pk).update(visibility="private")
    body = {"data": b"x", "content_type": "application/octet-stream"}
    for name in ("hello", "never-was"):
        answer = Client().post(f"/spaces/ada/{name}/api/upload?name=a", **body)
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
        assert Client().get(f"/spaces/ada/{name}/api/file?path=/a").status_code == 302, "to sign in"
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    assert client.post("/spaces/ada/hello/api/upload?name=a", **body).status_code == 403
    assert client.get("/spaces/ada/hello/api/upload").status_code == 405
    there = client.get("/spaces/ada/hello/api/file", {"path": "/tmp/a?b#c/../é"})["Location"]
    assert there.startswith(f"{space.url}gradio_api/file=/tmp/a%3Fb%23c/../%C3%A9?__sign=")


def test_a_password_keeps_the_description_back(client: Client, space: Space) -> None:
    describe(space)
    set_password(space, "open-sesame-please")
    assert "/greet" not in page(client, 403)
    assert client.get("/spaces/ada/hello/openapi.json").status_code == 403


def test_only_gradio_spaces_have_the_tab(client: Client, space: Space) -> None:
    assert ">API<" in client.get("/spaces/ada/hello").content.decode()
    Space.objects.filter(pk=space.pk).update(sdk="static")
    assert ">API<" not in client.get("/spaces/ada/hello").content.decode()


def test_the_openapi_document_is_one(client: Client, space: Space) -> None:
    describe(space)
    answer = client.get("/spaces/ada/hello/openapi.json")
    document = answer.json()
    validate(document)
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": f"{settings.PORTICO_URL}/run/ada/hello"}]
    body = document["paths"]["/gradio_api/call/greet"]["post"]["requestBody"]["content"]["application/json"]
    data = body["schema"]["properties"]["data"]
    assert (data["minItems"], data["maxItems"]) == (1, 2)
    assert data["prefixItems"] == [{"type": "string", "title": "Name"}, {"type": "number", "title": "Times"}]
    assert body["example"]["data"][1] == 3
    assert "/gradio_api/call/a%20b" in document["paths"] and "/gradio_api/call/greet/{event_id}" in document["paths"]
    assert not any("ping" in path for path in document["paths"])
    assert answer["Access-Control-Allow-Origin"] == "*" and "security" not in document


def test_snippets_hold_any_value(space: Space) -> None:
    greet, look, odd, nested, unnamed = endpoints(INFO)
    name = INFO["named_endpoints"]["/greet"]["parameters"][0]["example_input"]
    tree = ast.parse(calls.python(space, greet))
    call = next(
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "predict"
    )
    assert {k.arg: ast.literal_eval(k.value) for k in call.keywords} == {"name": name, "times": 3, "api_name": "/greet"}
    assert 'image=handle_file("https://example.org/a.png")' in calls.python(space, look)
    assert "class=" not in calls.python(space, odd) and "not one" not in calls.python(space, odd)
    assert "fn_index=3" in calls.python(space, unnamed) and "predict(3, [])" in calls.javascript(space, unnamed)
    assert '"/nested/ping"' in calls.python(space, nested)
    words = shlex.split(calls.curl(space, greet).split("| sed")[0].replace("EVENT_ID=$(", ""))
    assert json.loads(words[words.index("-d") + 1]) == {"data": [name, 3]}
    assert 'import { Client, handle_file } from "@gradio/client"' in calls.javascript(space, look)


@pytest.mark.parametrize(
    "info",
    [
        {}, {"named_endpoints": []}, {"named_endpoints": {"/x": None}}, {"named_endpoints": {"x": {}}},
        {"named_endpoints": {"/x": {"parameters": "many"}}}, {"named_endpoints": {"/x": {"parameters": [None]}}},
        {"named_endpoints": {"/x\n": {}}}, {"named_endpoints": {"/": {}}}, {"named_endpoints": {"/" + "x" * 300: {}}},
        {"unnamed_endpoints": {"-1": {}}}, {"unnamed_endpoints": {"٣": {}}}, {"unnamed_endpoints": {"1; rm": {}}},
    ],
)  # fmt: skip
def test_a_description_that_is_none_offers_nothing(info: dict[str, Any]) -> None:
    assert endpoints(info) == []


def test_a_description_is_bounded() -> None:
    many = {f"/{n}": {"parameters": [parameter("x")] * 500, "description": "d" * 10_000} for n in range(1000)}
    found = endpoints({"named_endpoints": many})
    assert len(found) == MAX_ENDPOINTS
    assert len(found[0].parameters) == MAX_PARAMETERS and len(found[0].description) == MAX_CHARACTERS


def test_wrong_types_within_are_left_out() -> None:
    said = {
        "parameters": [{"label": 5, "type": "x", "parameter_name": None}],
        "returns": [{"component": {}}],
        "description": [],
    }
    (found,) = endpoints({"named_endpoints": {"/x": said}})
    assert (found.parameters[0].label, found.parameters[0].type, found.returns[0].component) == ("", {}, "")


def test_markup_in_a_description_stays_text(client: Client, space: Space) -> None:
    evil = '"><script>alert(1)</script>'
    describe(
        space, {"named_endpoints": {f"/{evil}": {"description": evil, "parameters": [parameter(evil, evil, evil)]}}}
    )
    html = page(client)
    assert "<script>alert" not in html
    validate(client.get("/spaces/ada/hello/openapi.json").json())
