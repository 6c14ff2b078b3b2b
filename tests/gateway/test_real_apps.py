"""Real Gradio and real Streamlit in real workers, behind a really running portal, asked by the official client."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.running_portal import ROOT, RunningPortal
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

GRADIO = """
import threading, time
import gradio as gr

told = threading.Event()

def greet(name, request: gr.Request):
    return {"greeting": f"Hello {name}!", "address": request.client.host, "query": dict(request.query_params),
            "headers": dict(request.headers), "username": request.username}

def count(number):
    for n in range(int(number)):
        time.sleep(0.05)
        yield str(n)

def shout(path):
    with open(path) as given, open("/tmp/shout.txt", "w") as said:
        said.write(given.read().upper())
    return "/tmp/shout.txt"

def sift(progress=gr.Progress()):
    told.clear()
    progress(0.25, desc="sifting")
    return "told" if told.wait(60) else "not told"

with gr.Blocks() as demo:
    gr.Button().click(greet, gr.Textbox(), gr.JSON(), api_name="greet")
    gr.Button().click(count, gr.Number(), gr.Textbox(), api_name="count")
    gr.Button().click(shout, gr.File(), gr.File(), api_name="shout")
    gr.Button().click(sift, None, gr.Textbox(), api_name="sift")
    gr.Button().click(told.set, api_name="told")
demo.launch()
"""
STREAMLIT = """
import streamlit as st
st.title("Counted: " + str(st.session_state.setdefault("n", 7)))
"""
PROGRAM = """
import json, os, sys, time
from gradio_client import Client, handle_file
client = Client(sys.argv[1], token=sys.argv[2] or None, verbose=False)
counting = client.submit(4, api_name="/count")
counting.result(timeout=30)
said = client.predict(handle_file(sys.argv[3]), api_name="/shout")
sifting = client.submit(api_name="/sift")
while not (sifting.done() or (progress := sifting.status().progress_data)):
    time.sleep(0.01)
client.predict(api_name="/told")
print(json.dumps({
    "src": client.src, "root": client.config["root"], "greet": client.predict("Bob", api_name="/greet"),
    "count": counting.outputs(), "shout": open(said).read(),
    "progress": [progress[0].progress, progress[0].desc], "sift": sifting.result(timeout=30),
}), flush=True)
os._exit(0)  # on a busy machine the client may have opened one more stream, for nothing, and would wait for its end
"""
RERUN = b"\x5a\x00"
"""Streamlit's BackMsg with an empty `rerun_script`: what its page sends first."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("apps")
    for name, app in (("gradio", GRADIO), ("streamlit", STREAMLIT)):
        (root / name).mkdir()
        (root / name / "app.py").write_text(app)
        (root / name / "README.md").write_text(f"---\nsdk: {name}\napp_file: app.py\n---\n")
    (root / "in.txt").write_text("quiet")
    return root


@pytest.fixture(scope="module", autouse=True)
def talk(portal: RunningPortal, folder: Path) -> None:
    portal.deploy(folder / "gradio", "ada/talk")


def as_program(portal: RunningPortal, source: str, folder: Path, token: str = "") -> dict[str, Any]:
    """What the official client gets, in a process of its own that knows nothing but `HF_ENDPOINT`."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": portal.url,
        "HF_HOME": str(folder / "hf"),
        "GRADIO_TEMP_DIR": str(folder / "downloads"),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    argv = [sys.executable, "-c", PROGRAM, source, token, str(folder / "in.txt")]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def post(portal: RunningPortal, host: str, path: str, body: Any, headers: dict[str, str], source: str) -> bytes:
    """What a client at the address `source` gets."""
    connection = HTTPConnection("127.0.0.1", portal.port, timeout=60, source_address=(source, 0))
    with closing(connection):
        headers = {"Host": host, "Content-Type": "application/json", **headers}
        connection.request("POST", path, json.dumps(body), headers)
        return connection.getresponse().read()


def test_the_official_client_works_against_the_path_and_by_name(portal: RunningPortal, folder: Path) -> None:
    by_path = f"{portal.url}/run/ada/talk/"
    for source in (by_path, "ada/talk"):
        said = as_program(portal, source, folder)
        assert said["src"] == by_path and said["root"] == by_path.rstrip("/")
        assert said["greet"]["greeting"] == "Hello Bob!"
        assert said["count"] == ["0", "1", "2", "3"]
        assert said["shout"] == "QUIET"
        assert said["progress"] == [0.25, "sifting"] and said["sift"] == "told"


def test_gradio_sees_the_request_as_it_was_made(portal: RunningPortal) -> None:
    host = portal.host("ada-talk")
    body = {"data": ["Ann"]}
    headers = {"X-Own": "kept", "Cookie": "theirs=1; portico_session=secret", "X-Forwarded-For": "1.2.3.4"}
    path = "/gradio_api/call/greet?lang=de&lang=fr"
    event = json.loads(post(portal, host, path, body, headers, source="127.0.0.2"))["event_id"]
    status, stream = portal.get(f"/gradio_api/call/greet/{event}", host=host)
    assert status == 200
    said = json.loads(stream.decode().split("data: ", 1)[1].splitlines()[0])[0]
    assert said["greeting"] == "Hello Ann!" and said["address"] == "127.0.0.2"
    assert said["query"]["lang"] in ("de", "fr")
    assert said["headers"]["host"] == host and said["headers"]["x-own"] == "kept"
    assert said["headers"]["cookie"] == "theirs=1"


def test_gradio_knows_who_asks_where_its_owner_wants_that(portal: RunningPortal) -> None:
    host, token = portal.host("ada-talk"), {"Authorization": f"Bearer {portal.token('ada')}"}

    def username(headers: dict[str, str]) -> str | None:
        called = post(portal, host, "/gradio_api/call/greet", {"data": ["Ann"]}, headers, source="127.0.0.1")
        _, stream = portal.get(f"/gradio_api/call/greet/{json.loads(called)['event_id']}", host=host)
        said: dict[str, Any] = json.loads(stream.decode().split("data: ", 1)[1].splitlines()[0])[0]
        return said["username"]

    assert username(token) is None
    portal.shell("from apps.spaces.models import Space; from apps.spaces.services import set_tells_username\n"
                  "set_tells_username(Space.objects.get(name='talk'), True)")  # fmt: skip
    wait_until(lambda: username(token) == "ada")
    assert username({}) is None
    assert username({"X-Portico-User": "ada"}) is None, "a claim"


def test_progress_comes_through_the_host_while_the_app_works(portal: RunningPortal) -> None:
    host = portal.host("ada-talk")
    config = json.loads(portal.get("/config", host=host)[1])
    sift = next(one["id"] for one in config["dependencies"] if one["api_name"] == "sift")
    join = {"data": [], "fn_index": sift, "session_hash": "own"}
    post(portal, host, "/gradio_api/queue/join", join, {}, source="127.0.0.1")
    with closing(HTTPConnection("127.0.0.1", portal.port, timeout=60)) as connection:
        connection.request("GET", "/gradio_api/queue/data?session_hash=own", headers={"Host": host})
        stream = (json.loads(line[6:]) for line in connection.getresponse() if line.startswith(b"data: "))
        progress = next(said for said in stream if said["msg"] == "progress")["progress_data"][0]
        assert (progress["progress"], progress["desc"]) == (0.25, "sifting")
        post(portal, host, "/gradio_api/call/told", {"data": []}, {}, source="127.0.0.1")
        assert next(said for said in stream if said["msg"] == "process_completed")["output"]["data"] == ["told"]


def test_gradios_addresses_carry_the_hosts_port(portal: RunningPortal) -> None:
    host = portal.host("ada-talk")
    status, config = portal.get("/config", host=host)
    assert status == 200 and json.loads(config)["root"] == f"http://{host}"
    status, page = portal.get("/", host=host, headers={"Accept": "text/html"})
    assert status == 200 and f'"root":"http://{host}"'.encode() in page.replace(b'": "', b'":"')


def test_the_path_on_the_portal_shows_no_page(portal: RunningPortal) -> None:
    for path in ("", "static/js/iframeResizer.contentWindow.min.js", "theme.css"):
        status, body = portal.get(f"/run/ada/talk/{path}", headers={"Accept": "text/html"})
        assert status in (404, 406) and json.loads(body)


def test_another_sites_page_may_call_it(portal: RunningPortal) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{portal.port}/config")
    request.add_header("Host", portal.host("ada-talk"))
    request.add_header("Origin", "https://blog.example")
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers.get_all("Access-Control-Allow-Origin") == ["https://blog.example"]
        assert answer.headers.get_all("Access-Control-Allow-Credentials") == ["true"]


def test_a_call_wakes_a_sleeping_space_and_waits_for_it(portal: RunningPortal, folder: Path) -> None:
    portal.command("sleep", "ada/talk")
    assert portal.command("stage", "ada/talk").stdout.strip() == "SLEEPING"
    status, page = portal.get("/", host=portal.host("ada-talk"), headers={"Accept": "text/html"})
    assert status == 200 or (status == 503 and b"Waking up" in page)
    assert as_program(portal, "ada/talk", folder)["count"] == ["0", "1", "2", "3"]
    assert portal.command("stage", "ada/talk").stdout.strip() == "RUNNING"


def test_a_private_space_is_its_owners_and_their_programs(portal: RunningPortal, folder: Path) -> None:
    portal.shell("from apps.spaces.models import Space; from apps.spaces.services import set_visibility\n"
                  "set_visibility(Space.objects.get(name='talk'), 'private')")  # fmt: skip
    host = portal.host("ada-talk")
    wait_until(lambda: portal.get("/config", host=host)[0] == 404)
    with pytest.raises(RuntimeError, match="RepositoryNotFound"):
        as_program(portal, "ada/talk", folder)
    token = portal.token("ada")
    for source in ("ada/talk", f"{portal.url}/run/ada/talk/"):
        said = as_program(portal, source, folder, token)
        assert said["greet"]["greeting"] == "Hello Bob!"
        assert token not in json.dumps(said), "the app saw the visitor's token"
    portal.shell("from apps.spaces.models import Space; from apps.spaces.services import set_visibility\n"
                  "set_visibility(Space.objects.get(name='talk'), 'public')")  # fmt: skip
    wait_until(lambda: portal.get("/config", host=host)[0] == 200)


async def test_streamlit_talks_over_its_websocket(portal: RunningPortal, folder: Path) -> None:
    await asyncio.to_thread(portal.deploy, folder / "streamlit", "ada/counter")
    host = portal.host("ada-counter")
    headers = {"Host": host, "Origin": f"http://{host}"}
    url = f"http://127.0.0.1:{portal.port}/_stcore/stream"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, headers=headers, protocols=("streamlit",)) as page,
    ):
        assert page.protocol == "streamlit"
        await page.send_bytes(RERUN)
        async with asyncio.timeout(30):
            async for message in page:
                if b"Counted: 7" in message.data:
                    return
    raise AssertionError("the app never said anything")


def test_a_takedown_holds_within_two_seconds(portal: RunningPortal) -> None:
    host = portal.host("ada-talk")
    assert portal.get("/config", host=host)[0] == 200
    portal.shell("from apps.spaces.models import Space; from apps.spaces.services import withhold_space\n"
                  "withhold_space(Space.objects.get(name='talk'), 'test')")  # fmt: skip
    at = time.monotonic()
    wait_until(lambda: portal.get("/config", host=host)[0] == 410, seconds=2)
    assert portal.get("/run/ada/talk/config")[0] == 410
    assert portal.get("/api/spaces/ada/talk")[0] == 410
    assert time.monotonic() - at < 2


ROUTES = """
import json, re, sys
sys.path.insert(0, sys.argv[1])
import zygote
zygote.preload(["httpx", "uvicorn", "fastapi", "gradio", "gradio.http_server"], 2**40)
import dependants, inspect, signatures, warm
if sys.argv[2] == "as it is":
    dependants.Known.install = signatures.Known.install = classmethod(lambda cls: None)
warm.up()
import gradio

def described(dependant):
    call, fields = dependant.call, dict.fromkeys(dependant.__dataclass_fields__)
    cells = dict(zip(call.__code__.co_freevars, call.__closure__ or ())) if hasattr(call, "__code__") else {}
    assert "app" not in cells or cells["app"].cell_contents is app, "a function of another app"
    return {
        **{name: repr(getattr(dependant, name)) for name in fields if name not in ("call", "dependencies")},
        "call": getattr(call, "__qualname__", str(call)),
        "dependencies": [described(needed) for needed in dependant.dependencies],
    }

def schema(field):
    return field and [field.name, repr(field.field_info), field._type_adapter.json_schema(mode=field.mode)]

with gradio.Blocks() as blocks:
    gradio.Textbox()
found = []
for _ in range(2):
    app = gradio.routes.App.create_app(blocks)
    for route in app.router.routes:
        for one in route.effective_candidates() if hasattr(route, "effective_candidates") else [route]:
            if getattr(one, "dependant", None) is not None:
                found.append([one.path, described(one.dependant), repr(one.response_model), one.methods and sorted(
                    one.methods), one.is_sse_stream, one.is_json_stream, schema(one.body_field), schema(
                    one.response_field)])
for component in sorted(warm._subclasses(gradio.blocks.Block), key=str):
    own = inspect.unwrap(component.__init__)
    found.append([str(inspect.signature(component.__init__)), repr(inspect.getfullargspec(own))])
    default = own.__defaults__
    own.__defaults__ = (*default[:-1], "another") if default else None
    found.append([str(inspect.signature(component.__init__)), repr(inspect.getfullargspec(own))])
    own.__defaults__ = default
print(re.sub(r"0x[0-9a-f]+", "", json.dumps(found)))
"""


def run_inside(portal: RunningPortal, folder: Path, program: str, *ways: str) -> list[Any]:
    """What a program says in its line of JSON, in a real Environment and with the zygote's own programs, each way."""
    python = next(
        environment / "bin" / "python"
        for environment in portal.environments()
        if any(environment.glob("lib/python*/site-packages/gradio"))
    )
    inside = ROOT / "apps" / "runtime" / "zygote" / "inside"
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}
    answers = [
        subprocess.run(
            [python, "-c", program, inside, way], env=environment, capture_output=True, text=True, check=True
        )
        for way in ways
    ]
    return [json.loads(next(line for line in answer.stdout.splitlines() if line[0] in "[{")) for answer in answers]


def test_routes_analysed_before_are_those_that_gradio_would_declare(portal: RunningPortal, folder: Path) -> None:
    """The same parameters, the functions of the app itself."""
    found, known = run_inside(portal, folder, ROUTES, "as it is", "from what is known")
    assert len(found) > 100
    assert found == known


IDLE = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import gradio as gr, uvicorn
from gradio_client import Client
looks = {"queue": 0, "uvicorn": 0}
def counted(name, method):
    def get(self, *given):
        looks[name] += 1
        return method(self, *given)
    return get
Queue = gr.queueing.Queue
Queue.__len__ = counted("queue", Queue.__len__)
uvicorn.Server.on_tick = counted("uvicorn", uvicorn.Server.on_tick)
if sys.argv[2] == "quiet":
    import quiet
    quiet.install()

def work(n, progress=gr.Progress()):
    progress(0.5)
    time.sleep(0.5)  # nothing else is told meanwhile: the client keeps the last thing alone
    for i in range(int(n)):
        time.sleep(0.02)
        yield i
with gr.Blocks() as demo:
    gr.Button().click(work, gr.Number(), gr.Number(), api_name="work", concurrency_limit=1)
demo.launch(prevent_thread_lock=True, quiet=True)
time.sleep(2)
before = dict(looks)
time.sleep(2)
idle = {name: looks[name] - before[name] for name in looks}
client = Client(demo.local_url, verbose=False)
one_after_another = [client.predict(3, api_name="/work") for _ in range(3)]
long = client.submit(500, api_name="/work")
told = False
while not long.done() and not (told and long.outputs()):
    told = told or bool(long.status().progress_data)
    time.sleep(0.01)
behind = client.submit(4, api_name="/work")
time.sleep(0.5)
waits = not behind.outputs()
long.cancel()
print(json.dumps({"idle": idle, "results": [*one_after_another, behind.result(30)], "outputs": len(behind.outputs()),
      "waits": waits, "cancelled": len(long.outputs()) < 500, "progress": told}), flush=True)
demo.close()
"""


def test_an_idle_app_takes_no_processor_time_and_answers_as_before(portal: RunningPortal, folder: Path) -> None:
    """Gradio's and uvicorn's own loops, as they are and as a zygote leaves them."""
    loud, quiet = run_inside(portal, folder, IDLE, "as it is", "quiet")
    assert loud.pop("idle")["queue"] > 200, "or Gradio mends it itself, and this is not needed any more"
    assert max(quiet.pop("idle").values()) <= 20
    assert quiet == loud
    assert quiet == {"results": [2, 2, 2, 3], "outputs": 4, "waits": True, "cancelled": True, "progress": True}
