"""A demo framed by another site keeps working where the browser withholds its cookies and storage, and tells how high
it is."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from asgiref.sync import sync_to_async

from apps.gateway import framed
from apps.gateway.pages import POLICY
from apps.gateway.requests import Request
from tests.gateway.asgi_client import get
from tests.gateway.conftest import MakeSpace, StandInAgent

HEIGHT_TAG = '<script src="/.portico/height.js"></script>'


def request(**headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(
        kind="http", method="GET", host="ada-hello.spaces.localhost", key=("subdomain", "ada-hello"), prefix="",
        path=b"/", query=b"", client="127.0.0.1", scheme="http", origin=None,
        headers=pairs, first=dict(pairs),
    )  # fmt: skip


def test_only_what_chromium_marks_as_third_party_is_treated_so() -> None:
    assert framed.is_third_party(request(sec_fetch_storage_access="none", sec_fetch_dest="empty"))
    assert not framed.is_third_party(request(sec_fetch_site="same-origin"))
    assert framed.is_framed_page(request(sec_fetch_storage_access="none", sec_fetch_dest="iframe"))
    assert not framed.is_framed_page(request(sec_fetch_storage_access="none", sec_fetch_dest="empty"))
    assert not framed.is_framed_page(request(sec_fetch_dest="iframe"))
    assert not framed.is_framed_page(request(sec_fetch_dest="iframe", sec_fetch_site="same-origin"))
    assert framed.is_framed_page(request(sec_fetch_dest="iframe", sec_fetch_site="cross-site"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"a=1", b"a=1; SameSite=None; Secure; Partitioned"),
        (b"a=1; HttpOnly; Path=/; SameSite=lax", b"a=1; HttpOnly; Path=/; SameSite=None; Secure; Partitioned"),
        (b"a=1; Secure; SameSite=None", b"a=1; SameSite=None; Secure; Partitioned"),
        (b"a=1;Partitioned;secure;Max-Age=9", b"a=1;Max-Age=9; SameSite=None; Secure; Partitioned"),
    ],
)
def test_a_framed_apps_cookie_becomes_one_that_is_accepted(before: bytes, after: bytes) -> None:
    assert framed.partitioned(before) == after


def test_other_headers_are_left_alone() -> None:
    headers = [(b"x-a", b"a=1"), (b"set-cookie", b"a=1")]
    assert framed.with_partitioned_cookies(headers)[0] == (b"x-a", b"a=1")


@pytest.mark.parametrize(
    ("page", "before_the_script"),
    [
        (b"<!doctype html><html><head><meta charset=utf-8>", b"<!doctype html><html><head>"),
        (b'\n<!DOCTYPE html>\n<html lang="en">\n<head lang="en"><script>', b'<head lang="en">'),
        (b"<!doctype html><title>x</title><header>", b"<!doctype html>"),
        (b"<p>bare", b""),
        (b"", b""),
    ],
)
def test_the_script_comes_before_every_script_of_the_page(page: bytes, before_the_script: bytes) -> None:
    whole = framed.with_scripts(page, (framed.STORAGE_PATH,))
    before, found, after = whole.partition(b'<script src="/.portico/storage.js"></script>')
    assert found
    assert before + after == page
    assert before.endswith(before_the_script)


@pytest.mark.parametrize(
    ("status", "headers", "taken"),
    [
        (200, [(b"content-type", b"text/html; charset=utf-8")], True),
        (404, [(b"content-type", b"Text/HTML")], True),
        (206, [(b"content-type", b"text/html")], False),
        (200, [(b"content-type", b"text/html"), (b"content-encoding", b"br")], False),
        (200, [(b"content-type", b"application/json")], False),
        (200, [(b"content-type", b"text/html"), (b"content-security-policy", b"default-src 'none'")], False),
        (200, [(b"content-type", b"text/html"), (b"content-security-policy", POLICY)], False),
        (200, [(b"content-type", b"text/html"), (b"content-security-policy", b"script-src 'self'")], True),
        (200, [(b"content-type", b"text/html"), (b"content-security-policy", b"frame-ancestors *")], True),
        (200, [], False),
    ],
)
def test_only_whole_plain_pages_take_the_script(status: int, headers: list[tuple[bytes, bytes]], taken: bool) -> None:
    assert framed.takes_scripts(status, headers) is taken


def test_what_was_said_of_the_page_as_it_was_is_not_said() -> None:
    headers = [(b"content-length", b"10"), (b"etag", b'"x"'), (b"content-type", b"text/html")]
    assert framed.without_whole(headers) == [(b"content-type", b"text/html")]


def test_the_script_stands_in_for_storage_that_is_withheld() -> None:
    check = """
    const window = {}; let denied = true;
    Object.defineProperty(window, "localStorage", { configurable: true, get() { throw new Error("denied"); } });
    window.sessionStorage = { mine: "kept" };
    SCRIPT
    const s = window.localStorage;
    s.setItem("a", 1); s.b = "two";
    const all = [s.getItem("a"), s.a, s.getItem("b"), s.getItem("none"), s.length, Object.keys(s).join(), "b" in s];
    s.removeItem("a"); delete s.b;
    console.log(JSON.stringify([...all, s.length, window.sessionStorage.mine]));
    """.replace("SCRIPT", framed.STORAGE_SCRIPT.decode())
    node = shutil.which("node")
    assert node
    said = subprocess.run([node, "-e", check], check=True, capture_output=True, text=True, timeout=60).stdout
    assert said.strip() == '["1","1","two",null,2,"a,b",true,0,"kept"]'


@pytest.mark.django_db(transaction=True)
async def test_in_any_frame_a_page_that_would_not_tell_its_height_gets_a_script_that_does(
    make_space: MakeSpace, upstream: tuple[int, dict[str, object]], agent: StandInAgent
) -> None:
    in_frame = {"Sec-Fetch-Dest": "iframe", "Accept-Encoding": "br", "If-None-Match": '"x"'}
    for sdk, told in (("python", True), ("gradio", False), ("streamlit", False)):
        space = await sync_to_async(make_space)(sdk=sdk)
        agent.ports[space.pk] = upstream[0]
        assert (HEIGHT_TAG in (await get(space.host, "/page", headers=in_frame)).text) is told, sdk
        seen = dict((await get(space.host, "/x", headers=in_frame)).json()["headers"])
        assert (seen["accept-encoding"], "if-none-match" in seen) == (("identity", False) if told else ("br", True))
        for options in ({"Sec-Fetch-Dest": "document"}, {**in_frame, "Sec-Fetch-Dest": "empty"}, {}):
            assert HEIGHT_TAG not in (await get(space.host, "/page", headers=options)).text
        assert HEIGHT_TAG not in (await get("localhost:8000", f"/run/{space.slug}/page", headers=in_frame)).text
        script = await get(space.host, "/.portico/height.js")
        assert script.body == framed.HEIGHT_SCRIPT and script.get("content-type") == "text/javascript; charset=utf-8"
