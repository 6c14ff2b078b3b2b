"""What a Gradio app learns of who asks it and of its own address, through each way in: its host and its path on the
portal, directly and behind nginx.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.deploy.conftest import Site
from tests.deploy.front import PORTAL, SPACES, Answer
from tests.running_portal import RunningPortal

pytestmark = pytest.mark.integration

VISITOR = "127.0.0.3"
DEMO = """
import gradio as gr

def who(name, request: gr.Request):
    return {"name": name, "client": request.client.host, "headers": dict(request.headers),
            "query": dict(request.query_params), "cookies": dict(request.cookies), "username": request.username,
            "url": str(request.url), "base": str(request.request.base_url)}

def write(text):
    with open("/tmp/written.txt", "w") as file:
        file.write(text)
    return "/tmp/written.txt", ["/tmp/written.txt"]

with gr.Blocks() as demo:
    gr.Button().click(who, gr.Textbox(), gr.JSON(), api_name="who")
    gr.Button().click(write, gr.Textbox(), [gr.File(), gr.File(file_count="multiple")], api_name="write")
demo.launch(AUTH)
"""


@dataclass
class Way:
    """One way in.

    Attributes:
        origin, prefix: the app's address is the one behind the other.
        ask: method, path behind `prefix`, `headers`, `body`; asked from the address `VISITOR`.
    """

    origin: str
    prefix: str
    ask: Callable[..., Answer]

    @property
    def root(self) -> str:
        return self.origin + self.prefix

    def get(self, path: str, **options: Any) -> Answer:
        return self.ask("GET", self.prefix + path, **options)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        said = json.dumps(body).encode()
        return self.ask("POST", self.prefix + path, headers={"Content-Type": "application/json", **headers}, body=said)

    def call(self, name: str, *data: Any, query: str = "", **headers: str) -> list[Any]:
        """What an endpoint answers, in the two steps of Gradio's API."""
        joined = self.post(f"/gradio_api/call/{name}{query}", {"data": list(data)}, **headers)
        assert joined.status == 200, joined
        event = json.loads(joined.body)["event_id"]
        said = self.get(f"/gradio_api/call/{name}/{event}", headers=headers).body.decode()
        assert "event: complete" in said, said
        found: list[Any] = json.loads(said.rpartition("data: ")[2])
        return found


def deploy(portal: RunningPortal, folder: Path) -> None:
    for name, auth in {"asks": "", "door": 'auth=("eve", "open sesame")'}.items():
        (folder / name).mkdir()
        (folder / name / "app.py").write_text(DEMO.replace("AUTH", auth))
        portal.deploy(folder / name, f"ada/{name}", "--sdk", "gradio")


@pytest.fixture(scope="module")
def direct(portal: RunningPortal, tmp_path_factory: pytest.TempPathFactory) -> RunningPortal:
    deploy(portal, tmp_path_factory.mktemp("demos"))
    return portal


@pytest.fixture(scope="module")
def behind_nginx(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    deploy(site.portal, tmp_path_factory.mktemp("demos"))
    return site


@pytest.fixture(params=["host", "path", "host behind nginx", "path behind nginx"])
def way_to(request: pytest.FixtureRequest) -> Callable[[str], Way]:
    """`way_to("asks")` leads to that Space of ada's."""
    kind = request.param

    def way(name: str) -> Way:
        prefix = "" if kind.startswith("host") else f"/run/ada/{name}"
        if kind.endswith("nginx"):
            site: Site = request.getfixturevalue("behind_nginx")
            host = PORTAL if prefix else f"ada-{name}.{SPACES}"
            return Way(site.front.origin(host), prefix, lambda *given, **o: begin(site, host, *given, **o))
        portal: RunningPortal = request.getfixturevalue("direct")
        host = f"localhost:{portal.port}" if prefix else portal.host(f"ada-{name}")

        def ask(method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes | None = None) -> Answer:
            connection = HTTPConnection("127.0.0.1", portal.port, timeout=60, source_address=(VISITOR, 0))
            with closing(connection):
                connection.request(method, path, body, {"Host": host, **(headers or {})})
                answer = connection.getresponse()
                return Answer(answer.status, [(k.lower(), v) for k, v in answer.getheaders()], answer.read())

        return Way(f"http://{host}", prefix, ask)

    return way


def begin(site: Site, host: str, method: str, path: str, **options: Any) -> Answer:
    return site.front.ask(method, host, path, source=VISITOR, **options)


FORGED = {
    "X-Forwarded-For": "1.2.3.4", "X-Real-IP": "1.2.3.4", "Forwarded": "for=1.2.3.4;host=evil.example;proto=gopher",
    "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "gopher", "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Port": "666", "X-Forwarded-Server": "evil.example",
}  # fmt: skip


def test_who_asks_is_said_truly(way_to: Callable[[str], Way]) -> None:
    way = way_to("asks")
    ours = ["__Host-portico", "__Host-csrf", "__Host-portico_access", "__Host-portico_worker"]
    if way.origin.startswith("http:"):
        ours = ["portico_session", "portico_csrf", "portico_access", "portico_worker"]
    cookies = "; ".join(["theirs=1", *(f"{name}=secret" for name in ours), "more=a=b"])
    query = {"lang": "de", "odd": "ä&=/ +"}
    headers = {**FORGED, "X-Own": "kept", "Cookie": cookies, "Accept-Language": "de", "User-Agent": "a program"}
    (said,) = way.call("who", "Ann", query=f"?{urlencode(query)}", **headers)
    assert said["name"] == "Ann" and said["client"] == VISITOR and said["username"] is None
    got = said["headers"]
    assert got["host"] == urlsplit(way.origin).netloc and got["x-own"] == "kept" and got["accept-language"] == "de"
    assert got["user-agent"] == "a program" and got["x-forwarded-for"] == VISITOR
    assert got["x-forwarded-proto"] == urlsplit(way.origin).scheme
    assert said["query"] == query
    # The path lies on the portal's origin, whose cookies are nobody else's affair.
    assert said["cookies"] == ({} if way.prefix else {"theirs": "1", "more": "a=b"})
    for bad in ("evil", "1.2.3.4", "gopher", "666", "secret"):
        assert bad not in json.dumps(said)
    assert said["url"].startswith(f"{way.origin}/") and said["base"].startswith(f"{way.origin}/")


def test_its_own_address_is_the_one_it_was_asked_under(way_to: Callable[[str], Way]) -> None:
    way = way_to("asks")
    config = way.get("/config", headers=FORGED)
    assert json.loads(config.body)["root"] == way.root
    assert b"evil" not in config.body and b"gopher" not in config.body
    one, several = way.call("write", "written", **FORGED)
    for file in (one, *several):
        assert file["url"].startswith(f"{way.root}/gradio_api/file=")
        answer = way.get(file["url"].removeprefix(way.root))
        assert answer.status == 200 and answer.body == b"written"
        part = way.get(file["url"].removeprefix(way.root), headers={"Range": "bytes=2-4"})
        assert (part.status, part.body, part.get("content-range")) == (206, b"itt", "bytes 2-4/7")
    if not way.prefix:
        page = way.get("/", headers={**FORGED, "Accept": "text/html"})
        assert page.status == 200 and way.root.encode() in page.body and b"evil" not in page.body


@pytest.mark.parametrize("path", ["/config/?a=%2F", "/gradio_api/info/", "/gradio_api/startup-events/"])
def test_its_redirects_lead_to_itself(way_to: Callable[[str], Way], path: str) -> None:
    """Those that its framework makes, of an address with a slash too many."""
    way = way_to("asks")
    answer = way.get(path, headers=FORGED)
    if answer.status in (301, 302, 303, 307, 308):
        leads_to = answer.get("location") or ""
        there = leads_to.removeprefix(way.origin)
        place, _, query = path.partition("?")
        assert there == way.prefix + place.rstrip("/") + (f"?{query}" if query else "")
        answer = way.ask("GET", there)
    assert answer.status == 200


def test_its_own_login_works_where_it_may_set_cookies(way_to: Callable[[str], Way]) -> None:
    way = way_to("door")
    form = urlencode({"username": "eve", "password": "open sesame"}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert way.get("/config").status == 401
    entered = way.ask("POST", f"{way.prefix}/login", headers=headers, body=form)
    assert entered.status == 200
    given = [v.partition(";")[0] for k, v in entered.headers if k == "set-cookie"]
    if way.prefix:
        assert given == []
        return
    assert given and not any("domain" in v.lower() for k, v in entered.headers if k == "set-cookie")
    (said,) = way.call("who", "Eve", Cookie="; ".join(given))
    assert said["username"] == "eve"
    left = way.get("/logout", headers={"Cookie": "; ".join(given), **FORGED})
    assert left.status in (302, 303, 307) and (left.get("location") or "").rstrip("/") in (way.origin, "")
