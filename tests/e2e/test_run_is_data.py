"""`/run/<owner>/<name>/` lies on the portal's origin, and a hostile Space tries to get a page, a script, a style, a
cookie or anything stored there, in a real browser with somebody signed in.

The attacks start from a page on the portal's origin without any policy of its own, as if somebody had already got
markup into it: what stops them is what the gateway says of each answer.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import BrowserContext, Error, Page, Route

from tests.e2e.conftest import ADMIN, Blog, sign_in
from tests.running_agent import SERVER
from tests.running_portal import RunningPortal

pytestmark = pytest.mark.e2e

HOSTILE = (
    SERVER
    + r'''
import base64, hashlib, json
from urllib.parse import parse_qsl, urlsplit

seen = []
MARK = """
try { globalThis.ran = 1 } catch {}
try { document.cookie = "ran=1; path=/" } catch {}
try { localStorage.ran = 1; sessionStorage.ran = 1 } catch {}
try { indexedDB.open("ran") } catch {}
try { caches.open("ran") } catch {}
try { fetch("http://%(host)s/run/ada/hostile/beacon?" + self.constructor.name, {mode: "no-cors"}) } catch {}
"""
SHEET = """<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:template match="/">
<html><body><script>%(mark)s</script></body></html></xsl:template></xsl:stylesheet>"""
PDF = """%%PDF-1.7
1 0 obj<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(app.alert(1); this.submitForm("http://%(host)s/run/ada/hostile/beacon?pdf"))>>>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>endobj
trailer<</Root 1 0 R>>"""
BODIES = {
    "html": "<!doctype html><html><body><script>%(mark)s</script><img src=x: onerror='ran=1'></body></html>",
    "script": "%(mark)s; export default 1",
    "classic": "%(mark)s",
    "style": "html { --ran: 1; background: url(http://%(host)s/run/ada/hostile/beacon?style) }",
    "svg": """<svg xmlns="http://www.w3.org/2000/svg"><script><![CDATA[%(mark)s]]></script></svg>""",
    "xhtml": """<html xmlns="http://www.w3.org/1999/xhtml"><body><script><![CDATA[%(mark)s]]></script></body></html>""",
    "xml": """<?xml version="1.0"?>
<?xml-stylesheet type="text/xsl" href="/run/ada/hostile/x?body=sheet&amp;type=text/xsl"?>
<a><script xmlns="http://www.w3.org/1999/xhtml"><![CDATA[%(mark)s]]></script></a>""",
    "sheet": SHEET,
    "pdf": PDF,
    "parts": "--b\r\nContent-Type: text/html\r\n\r\n<script>%(mark)s</script>\r\n--b--\r\n",
    "mail": "MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n"
            "Content-Location: http://%(host)s/\r\n\r\n<script>%(mark)s</script>\r\n--b--\r\n",
    "manifest": '{"name": "Portal", "start_url": "/", "display": "standalone", "scope": "/"}',
    "appcache": "CACHE MANIFEST\nFALLBACK:\n/ /run/ada/hostile/x?body=html\n",
    "event": "data: secret\n\n",
    "empty": "",
}

class Hostile(Handler):
    def do_GET(self):
        at = urlsplit(self.path)
        asked = parse_qsl(at.query, keep_blank_values=True)
        values = dict(asked)
        seen.append([self.command, at.path, dict(self.headers), at.query])
        if at.path == "/seen":
            return self.answer_with(200, [("Content-Type", "application/json")], json.dumps(seen))
        if self.headers["Upgrade"] == "websocket":
            key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accepted = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
            self.wfile.write(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Accept: " + accepted + "\r\n\r\n").encode() + b"\x81\x06secret")
            self.close_connection = True
            return
        host = self.headers["X-Forwarded-Host"]
        body = BODIES[values.get("body", "empty")] % {"mark": MARK % {"host": host}, "host": host}
        headers = [(name, value) for name, value in asked if name not in ("body", "type", "status", "hint")]
        if values.get("type") is not None:
            headers.append(("Content-Type", values["type"]))
        if "hint" in values:
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: " + values["hint"].encode() + b"\r\n\r\n")
        self.answer_with(int(values.get("status", 200)), headers, body)
    do_POST = do_GET
    def answer_with(self, status, headers, body):
        body = body.encode()
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

serve(Hostile)
'''
)
"""Answers with what the address asks for: `body` names one of BODIES, `type`, `status` and `hint` (a 103's Link) are
what they say, and everything else is a header."""


@pytest.fixture(scope="module")
def hostile(portal: RunningPortal, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Space's path on the portal's origin."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "app.py").write_text(HOSTILE)
    portal.deploy(folder, "ada/hostile", "--sdk", "python")
    return f"{portal.url}/run/ada/hostile"


@pytest.fixture
def bare(context: BrowserContext, portal: RunningPortal) -> Iterator[str]:
    """A page of the portal's origin without any policy; whoever looks at it is signed in as the administrator."""
    address = f"{portal.url}/bare"
    sign_in(context.new_page(), portal, *ADMIN)

    def page(route: Route) -> None:
        route.fulfill(content_type="text/html", body="<!doctype html><title>Bare</title><body></body>")

    context.route(address, page)
    yield address


STORED = """async () => ({
    origin: self.origin,
    ran: globalThis.ran ?? null,
    cookie: document.cookie,
    local: {...localStorage}, session: {...sessionStorage},
    databases: (await indexedDB.databases()).map((one) => one.name),
    caches: await caches.keys(),
    workers: (await navigator.serviceWorker.getRegistrations()).map((one) => one.scope),
    style: getComputedStyle(document.documentElement).getPropertyValue("--ran"),
})"""


class Watched:
    """What the portal's origin holds in the browser, before and after an attack."""

    def __init__(self, page: Page, bare: str, hostile: str) -> None:
        self.page, self.bare, self.hostile = page, bare, hostile
        page.on("dialog", lambda dialog: dialog.dismiss())
        self.before = self._look()
        self.beacons_before = len(self.beacons())

    def _look(self) -> Any:
        self.page.goto(self.bare)
        found = self.page.evaluate(STORED)
        assert found["origin"] == self.hostile.partition("/run/")[0]
        cookies = self.page.context.cookies()
        return found, sorted((c["name"], c["value"], c["domain"], c["path"]) for c in cookies)

    def requests(self) -> list[Any]:
        found: list[Any] = json.loads(self.page.request.get(f"{self.hostile}/seen").text())
        return found

    def beacons(self) -> list[Any]:
        return [one for one in self.requests() if one[1].endswith("/beacon")]

    def is_untouched(self) -> None:
        self.page.wait_for_timeout(150)  # whatever ran has told by now
        assert self._look() == self.before
        assert self.beacons()[self.beacons_before :] == []

    def nothing_ran(self) -> None:
        for page in self.page.context.pages:
            for frame in page.frames:
                with contextlib.suppress(Error):  # a frame that was refused has nothing to ask
                    assert frame.evaluate("globalThis.ran ?? null") is None


@pytest.fixture
def watched(page: Page, bare: str, hostile: str) -> Watched:
    found = Watched(page, bare, hostile)
    assert "portico_session" in {c["name"] for c in page.context.cookies()}
    return found


def address(hostile: str, *headers: tuple[str, str], **asked: str) -> str:
    return f"{hostile}/x?{urlencode([*asked.items(), *headers])}"


def test_the_attacks_work_where_they_may(page: Page, portal: RunningPortal, hostile: str) -> None:
    """On the Space's own host, which is another origin: else they would prove nothing."""
    own = f"http://{portal.host('ada-hostile')}"
    for body, kind in {"html": "text/html", "svg": "image/svg+xml", "xhtml": "application/xhtml+xml"}.items():
        page.goto(address(own, body=body, type=kind))
        assert page.evaluate("ran") == 1 and page.evaluate("localStorage.ran") == "1"
        assert page.evaluate("document.cookie") == "ran=1"
        page.goto(address(own, body="empty", type="text/html"))
        page.evaluate("localStorage.clear(); document.cookie = 'ran=1; path=/; max-age=0'")
    page.add_script_tag(url=address(own, body="classic", type="text/javascript"))
    assert page.evaluate("ran") == 1
    page.add_style_tag(url=address(own, body="style", type="text/css"))
    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ran')") == "1"
    workers = "(url) => new Promise((done) => { new Worker(url); new SharedWorker(url); setTimeout(done, 1000) })"
    page.evaluate(workers, address(own, body="classic", type="text/javascript"))
    seen = json.loads(page.request.get(f"{hostile}/seen").text())
    kinds = {one[3] for one in seen if one[1].endswith("/beacon")}
    assert {"Window", "DedicatedWorkerGlobalScope", "SharedWorkerGlobalScope", "style"} <= kinds


PAGES = {
    "HTML": ("html", "text/html"),
    "HTML in capitals": ("html", "TEXT/HTML"),
    "HTML behind a space": ("html", " text/html"),
    "HTML of another charset": ("html", "text/html; charset=utf-7"),
    "HTML, of two types": ("html", "text/plain, text/html"),
    "HTML, of two types the other way": ("html", "application/json, text/html"),
    "HTML as plain text": ("html", "text/plain"),
    "HTML as JSON": ("html", "application/json"),
    "HTML as JSON with a parameter": ("html", "application/json;text/html"),
    "HTML as events": ("html", "text/event-stream"),
    "HTML as a picture": ("html", "image/png"),
    "HTML as a film": ("html", "video/mp4"),
    "HTML as a table": ("html", "text/csv"),
    "HTML as bytes": ("html", "application/octet-stream"),
    "HTML of an unknown type": ("html", "x/y"),
    "HTML of a type that is none": ("html", "*/*"),
    "HTML of an empty type": ("html", ""),
    "HTML of text/x": ("html", "text/x-html"),
    "HTML as WML": ("html", "text/vnd.wap.wml"),
    "SVG": ("svg", "image/svg+xml"),
    "SVG as XML": ("svg", "text/xml"),
    "SVG as its cousin": ("svg", "image/svg"),
    "SVG, compressed by name": ("svg", "image/svg-xml"),
    "XHTML": ("xhtml", "application/xhtml+xml"),
    "XHTML as XML": ("xhtml", "application/xml"),
    "XHTML of any XML": ("xhtml", "application/x+xml"),
    "XHTML as RSS": ("xhtml", "application/rss+xml"),
    "XHTML as MathML": ("xhtml", "application/mathml+xml"),
    "XHTML as a model": ("xhtml", "model/x3d+xml"),
    "XHTML as a picture of XML": ("xhtml", "image/x+xml"),
    "XHTML as a film of XML": ("xhtml", "video/x+xml"),
    "XML with a stylesheet": ("xml", "text/xml"),
    "XML with a stylesheet, as an application": ("xml", "application/xml"),
    "an XSL sheet": ("sheet", "text/xsl"),
    "PDF": ("pdf", "application/pdf"),
    "PDF as text": ("pdf", "text/pdf"),
    "parts that replace each other": ("parts", "multipart/x-mixed-replace; boundary=b"),
    "parts that belong together": ("mail", "multipart/related; boundary=b"),
    "a mail": ("mail", "message/rfc822"),
    "a script": ("classic", "text/javascript"),
    "a style": ("style", "text/css"),
    "a manifest of a cache": ("appcache", "text/cache-manifest"),
}
"""Body and type."""
IN_FRAMES = """async (url) => {
    const shown = [["iframe", "src"], ["embed", "src"], ["object", "data"], ["frame", "src"]].map(([name, attribute]) =>
        new Promise((done) => {
            const element = document.createElement(name);
            element.onload = element.onerror = done;
            setTimeout(done, 700);
            element.setAttribute(attribute, url);
            document.body.append(element);
        }));
    await Promise.all(shown);
    await new Promise((done) => setTimeout(done, 100));
    return [...document.querySelectorAll("iframe, object, embed")].map((element) => {
        try {
            const inner = element.contentDocument ?? element.getSVGDocument?.();
            return inner && inner.URL !== "about:blank" ? inner.URL : null;
        } catch { return null; }
    });
}"""


def visit(page: Page, url: str) -> str | None:
    """The type of the document that the browser shows for this address; None when it downloads it instead."""
    with contextlib.suppress(Error):
        page.goto(url, wait_until="load")
        page.wait_for_timeout(100)
        return str(page.evaluate("document.contentType"))
    return None


@pytest.mark.parametrize("name", PAGES)
def test_no_answer_becomes_a_page(watched: Watched, name: str) -> None:
    body, kind = PAGES[name]
    for disposition in ((), (("Content-Disposition", "inline; filename=a.html"),)):
        url = address(watched.hostile, *disposition, ("X-Content-Type-Options", "sniff"), body=body, type=kind)
        shown = visit(watched.page, url)
        assert shown in (None, "application/json", "text/event-stream", "text/plain"), shown
        if shown is not None and watched.page.url.startswith(watched.hostile):
            assert watched.page.evaluate("self.origin") == "null", "it is shown as the portal's"
        watched.nothing_ran()
    watched.page.goto(watched.bare)
    assert watched.page.evaluate(IN_FRAMES, url) == [None, None, None]
    watched.nothing_ran()
    watched.is_untouched()


def test_an_answer_without_a_type_is_no_page(watched: Watched) -> None:
    assert visit(watched.page, address(watched.hostile, body="html")) is None
    for status in ("200", "206", "400", "403", "404", "418", "500", "503"):
        visit(watched.page, address(watched.hostile, body="html", type="text/html", status=status))
        watched.nothing_ran()
    watched.is_untouched()


AWAY = {
    "data:": ("Location", "data:text/html,<script>ran=1</script>"),
    "javascript:": ("Location", "javascript:ran=1"),
    "another site": ("Location", "https://evil.example/"),
    "another site without a scheme": ("Location", "//evil.example/"),
    "a page of the portal's": ("Location", "/../../accounts/logout/"),
    "a page of the portal's, encoded": ("Location", "/%2e%2e/%2e%2e/accounts/logout/"),
    "a page of the portal's, in full": ("Location", "{portal}/accounts/logout/"),
    "another site, by backslashes": ("Location", "\\\\evil.example"),
    "a moment later": ("Refresh", "0; url=data:text/html,<script>ran=1</script>"),
    "a moment later, to another site": ("Refresh", "0; url=https://evil.example/"),
}


STAYED = ("about:blank", "chrome-error://chromewebdata/")


@pytest.mark.parametrize("name", AWAY)
def test_no_answer_leads_away(watched: Watched, portal: RunningPortal, name: str) -> None:
    header, value = AWAY[name]
    for status in ("302", "307", "200", "201", "404"):
        value = value.replace("{portal}", portal.url)
        url = address(watched.hostile, (header, value), body="manifest", type="application/json", status=status)
        visit(watched.page, url)
        watched.page.wait_for_timeout(50)
        at = watched.page.url
        assert at.startswith(watched.hostile) or at in STAYED or at == watched.bare, at
        watched.nothing_ran()
    watched.is_untouched()


SCRIPTS = [
    "text/javascript", "application/javascript", "application/x-javascript", "text/ecmascript", "text/jscript",
    "TEXT/JavaScript; charset=utf-8", "text/javascript1.5", "text/livescript", "application/json", "text/plain",
    "text/html", "text/csv", "application/octet-stream", "image/png", "video/mp4", "audio/mpeg", "font/woff2", "x/y",
    "text/event-stream", "application/x-ndjson", "application/wasm", "application/ld+json", "text/json",
    "application/x+json; charset=utf-8", "application/importmap+json", "text/css", "*/*", "",
]  # fmt: skip
LOADS = """async ([script, classic]) => {
    const said = {};
    const soon = (name, promise) => Promise.race([
        promise, new Promise((done) => setTimeout(() => done("silence"), 10000)),
    ]).then((outcome) => { said[name] = outcome; }, () => { said[name] = "refused"; });
    const element = (name, attributes) => new Promise((done) => {
        const made = Object.assign(document.createElement(name), attributes);
        made.onload = () => done("taken");
        made.onerror = () => done("refused");
        document.head.append(made);
    });
    const worker = (make) => new Promise((done) => {
        const made = make();
        (made.port ?? made).onmessage = () => done("taken");
        made.onerror = () => done("refused");
    });
    const within = (source) => URL.createObjectURL(new Blob([source], {type: "text/javascript"}));
    await Promise.all([
        soon("script", element("script", {src: classic})),
        soon("deferred script", element("script", {src: classic, defer: true})),
        soon("module", element("script", {src: script, type: "module"})),
        soon("import", import(script).then(() => "taken")),
        soon("import of a module",
            element("script", {src: within(`import ${JSON.stringify(script)}`), type: "module"})),
        soon("style", element("link", {href: classic, rel: "stylesheet"})),
        soon("style that a style imports", new Promise((done) => {
            const made = document.createElement("style");
            made.textContent = `@import url(${JSON.stringify(classic)})`;
            document.head.append(made);
            setTimeout(() => {
                let rules = 0;
                try { rules = made.sheet.cssRules[0].styleSheet?.cssRules.length ?? 0 } catch {}
                done(rules ? "taken" : "refused");
            }, 500);
        })),
        soon("worker", worker(() => new Worker(classic))),
        soon("module worker", worker(() => new Worker(script, {type: "module"}))),
        // Chromium does not always tell of this one's failure; what it runs would tell of itself.
        soon("shared worker", Promise.race([
            worker(() => new SharedWorker(classic)), new Promise((done) => setTimeout(() => done("refused"), 1000)),
        ])),
        soon("worker that imports", worker(() => new Worker(within(`importScripts(${JSON.stringify(classic)})`)))),
        soon("service worker", navigator.serviceWorker.register(classic, {scope: "/"}).then(() => "taken")),
        soon("service worker of its own path",
            navigator.serviceWorker.register(classic).then(() => "taken")),
        soon("module service worker",
            navigator.serviceWorker.register(script, {type: "module", scope: "/"}).then(() => "taken")),
        soon("audio worklet", new OfflineAudioContext(1, 1, 8000).audioWorklet.addModule(script).then(() => "taken")),
    ]);
    return said;
}"""


@pytest.mark.parametrize("kind", SCRIPTS)
def test_no_answer_becomes_a_script_a_style_or_a_worker(watched: Watched, kind: str) -> None:
    allowed = ("Service-Worker-Allowed", "/")
    script = address(watched.hostile, allowed, body="script", type=kind)
    classic = address(watched.hostile, allowed, body="classic", type=kind)
    watched.page.goto(watched.bare)
    said = watched.page.evaluate(LOADS, [script, classic])
    assert len(said) == 15 and {name: outcome for name, outcome in said.items() if outcome != "refused"} == {}
    watched.nothing_ran()
    sheet = address(watched.hostile, allowed, body="style", type=kind)
    watched.page.evaluate(LOADS, [sheet, sheet])
    assert watched.page.evaluate(STORED)["style"] == ""
    watched.is_untouched()


def test_no_manifest_and_no_picture_of_markup(watched: Watched) -> None:
    watched.page.goto(watched.bare)
    manifest = address(watched.hostile, body="manifest", type="application/manifest+json")
    drawing = address(watched.hostile, body="svg", type="image/svg+xml")
    watched.page.evaluate(
        """async ([manifest, drawing]) => {
            document.head.innerHTML += `<link rel="manifest" href="${manifest}"><link rel="icon" href="${drawing}">`;
            document.body.innerHTML += `<svg><use href="${drawing}#x"></use></svg>`;
            const image = new Image();
            image.src = drawing;
            await image.decode().then(() => { throw "drawn" }, () => {});
        }""",
        [manifest, drawing],
    )
    found = watched.page.context.new_cdp_session(watched.page).send("Page.getAppManifest")
    assert "standalone" not in (found.get("data") or "") or found["errors"] == [], found
    watched.is_untouched()


HEADERS = {
    "Set-Cookie": "evil=1; Path=/",
    "Set-Cookie2": "evil=1",
    "Clear-Site-Data": '"*"',
    "Link": "</run/ada/hostile/beacon?sheet>; rel=stylesheet, </run/ada/hostile/beacon?link>; rel=preload; as=script",
    "Service-Worker-Allowed": "/",
    "SourceMap": "/run/ada/hostile/beacon?map",
    "X-SourceMap": "/run/ada/hostile/beacon?map",
    "Report-To": '{"group": "default", "max_age": 99, "endpoints": [{"url": "https://evil.example/"}]}',
    "Reporting-Endpoints": 'default="https://evil.example/"',
    "NEL": '{"report_to": "default", "max_age": 99}',
    "Content-Security-Policy-Report-Only": "default-src 'none'; report-uri /run/ada/hostile/beacon?csp",
    "Speculation-Rules": '"/run/ada/hostile/x"',
    "WWW-Authenticate": 'Basic realm="Portal"',
    "Alt-Svc": 'h3="evil.example:443"',
    "Strict-Transport-Security": "max-age=99999999; includeSubDomains",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": "*",
    "Timing-Allow-Origin": "*",
    "Accept-CH": "Sec-CH-UA-Model",
    "Critical-CH": "Sec-CH-UA-Model",
    "Origin-Trial": "x",
    "Set-Login": "logged-in",
    "Sec-Session-Registration": '(ES256);path="/run/ada/hostile/x"',
    "Activate-Storage-Access": "load",
    "Use-As-Dictionary": 'match="/*"',
    "X-Accel-Redirect": "/etc/passwd",
    "Content-Location": "/",
    "Proxy-Authenticate": "Basic",
    "X-Frame-Options": "ALLOWALL",
    "Permissions-Policy": "camera=*",
    "Origin-Agent-Cluster": "?0",
    "Document-Policy": "force-load-at-top",
    "Cross-Origin-Opener-Policy": "unsafe-none",
    "X-DNS-Prefetch-Control": "on",
    "X-Made-Up": "1",
}
EXPECTED = {
    "content-type", "content-length", "date", "x-content-type-options", "content-security-policy", "connection",
    "cross-origin-resource-policy", "referrer-policy", "content-disposition", "keep-alive", "transfer-encoding",
    "x-request-id",
}  # fmt: skip


@pytest.mark.parametrize("status", ["200", "302", "304", "401", "404", "500"])
def test_no_header_says_anything_of_the_portals_origin(watched: Watched, status: str) -> None:
    headers = list(HEADERS.items()) + ([("Location", "/elsewhere")] if status == "302" else [])
    for kind in ("application/json", "text/plain"):
        url = address(watched.hostile, *headers, body="manifest", type=kind, status=status, hint=HEADERS["Link"])
        visit(watched.page, url)
        said = watched.page.request.get(url, max_redirects=0).headers
        assert set(said) - EXPECTED <= ({"location"} if status == "302" else set()), said
        assert said["x-content-type-options"] == "nosniff"
        assert said["content-security-policy"] == "sandbox; default-src 'none'; frame-ancestors 'none'"
    watched.is_untouched()


FOREIGN = """async ([http, ws]) => {
    const said = {};
    const soon = (name, promise) => Promise.race([
        promise, new Promise((done) => setTimeout(() => done("silence"), 3000)),
    ]).then((outcome) => { said[name] = outcome; }, () => { said[name] = "refused"; });
    const json = http + "/x?body=manifest&type=application/json";
    await Promise.all([
        soon("websocket", new Promise((done) => {
            const socket = new WebSocket(ws + "/socket");
            socket.onmessage = (event) => done(event.data);
            socket.onopen = () => done("open");
            socket.onclose = () => done("refused");
        })),
        soon("events", new Promise((done) => {
            const events = new EventSource(http + "/x?body=event&type=text/event-stream", {withCredentials: true});
            events.onmessage = (event) => done(event.data);
            events.onerror = () => done("refused");
        })),
        soon("fetch", fetch(json, {credentials: "include"}).then((answer) => answer.text())),
        soon("fetch without cors", fetch(json, {mode: "no-cors", credentials: "include"}).then((a) => a.type)),
        soon("a preflight", fetch(json, {headers: {"X-Own": "1"}}).then((answer) => answer.text())),
        soon("picture", new Promise((done) => {
            const image = new Image();
            image.onload = () => done("drawn");
            image.onerror = () => done("refused");
            image.src = http + "/x?body=manifest&type=image/png";
        })),
        soon("script", new Promise((done) => {
            const script = document.createElement("script");
            script.onload = () => done("taken");
            script.onerror = () => done("refused");
            script.src = json;
            document.head.append(script);
        })),
    ]);
    return said;
}"""


@pytest.mark.parametrize("where", ["another site", "the Space's own host", "the portal"])
def test_no_page_of_another_origin_reads_anything_and_none_opens_a_websocket(
    watched: Watched, portal: RunningPortal, blog: Blog, where: str
) -> None:
    own = f"http://{portal.host('ada-hostile')}"
    pages = {"another site": blog.publish(""), "the Space's own host": address(own, body="empty", type="text/html")}
    watched.page.goto(pages.get(where, watched.bare))
    before = len(watched.requests())
    addresses = [watched.hostile, watched.hostile.replace("http://", "ws://")]
    said = watched.page.evaluate(FOREIGN, addresses)
    if where == "the portal":
        assert said.pop("events") == "secret" and '"start_url"' in said.pop("fetch"), "what is data is there for it"
        assert '"start_url"' in said.pop("a preflight") and said.pop("fetch without cors") == "basic"
    assert {name: outcome for name, outcome in said.items() if outcome != "refused"} == {}
    arrived = watched.requests()[before:]
    assert not [one for one in arrived if one[1] == "/socket"], "the app heard of the websocket"
    assert not [one for one in arrived if "Cookie" in one[2] or "cookie" in one[2]], "the app saw a cookie"
    watched.page.goto(watched.bare)
    watched.nothing_ran()
    watched.is_untouched()
