"""How an answer leaves the gateway: through the rules of the address that it was asked under.

`HostAnswer` is for a Space's own host: the app may do what a web page may, except that framing, CORS and the
portal's own headers are not its to decide. `DataAnswer` is for `/run/<owner>/<name>/`, which lies on the portal's
own origin: data only, never anything a browser would render or execute there.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from asgiref.typing import ASGISendCallable
from django.conf import settings

from apps.gateway import accel, framed
from apps.gateway.codings import compressed
from apps.gateway.headers import Headers, get
from apps.gateway.pages import Page
from apps.gateway.routes import Route
from apps.spaces.hostnames import who_may_show

ISOLATION_HEADERS = {
    "cross-origin-embedder-policy": {"unsafe-none", "require-corp", "credentialless"},
    "cross-origin-opener-policy": {"same-origin", "same-origin-allow-popups", "unsafe-none"},
    "cross-origin-resource-policy": {"same-site", "same-origin", "cross-origin"},
}
"""What `custom_headers` of a card may say, as on the Hub."""

SMALLEST_BYTES, MAX_HELD_BYTES = 512, 1024**2
"""Of answers that are compressed on their way."""
COMPRESSIBLE = re.compile(rb"(text/(html|css|plain)|application/(json|manifest\+json))\s*(;|$)")
OF_THE_BYTES = frozenset({b"content-encoding", b"content-md5", b"content-range", b"digest", b"etag", b"set-cookie"})


class Answered(Exception):
    """The answer is complete, whatever the app still has to say."""


class Answer:
    """One HTTP answer under way. `start` once, `body` any number of times, the last one without `more`.

    Attributes:
        request_id: said in its headers, unless it is empty.
        status: 0 until it has begun.
        sent: bytes of the body.
        begun_at: when it began, by `time.perf_counter`.
        said: what the gateway said itself; None for what an app or a file says.
    """

    route: Route | None = None

    def __init__(self, send: ASGISendCallable, method: str, *, wants_html: bool, request_id: str = "") -> None:
        self.request_id = request_id
        self.status = self.sent = 0
        self.begun_at = 0.0
        self.said: Page | None = None
        self._send = send
        self.method = method
        self.wants_html = wants_html
        self.started = False
        self.complete = False

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers. Bytes of headers are trusted here: see `headers.from_upstream`."""
        await self._head(status, headers)

    async def _head(self, status: int, headers: Headers) -> None:
        self.started = True
        self.status, self.begun_at = status, time.perf_counter()
        if self.request_id:
            headers = [*headers, (b"x-request-id", self.request_id.encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})

    async def body(self, chunk: bytes, *, more: bool) -> None:
        self.sent += len(chunk)
        await self._send({"type": "http.response.body", "body": chunk, "more_body": more})
        self.complete = not more

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        await self.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self.body(b"" if self.method == "HEAD" else body, more=False)

    async def page(self, page: Page, extra: Headers | None = None) -> None:
        """Say something of the gateway's own: HTML to somebody who visits, JSON to a program."""
        self.said = page
        reference = self.request_id if page.is_traceable else ""
        headers = [*page.headers(), (b"vary", b"Accept, Sec-Fetch-Mode"), *(extra or [])]
        if self.wants_html:
            headers += [(b"content-type", b"text/html; charset=utf-8"), (b"content-security-policy", page.policy)]
            await self.whole(page.status, headers, page.as_html(reference))
        else:
            headers.append((b"content-type", b"application/json"))
            await self.whole(page.status, headers, page.as_json(reference))


class HostAnswer(Answer):
    """An answer on a Space's own host.

    Args:
        route: the Space, None when there is none (or none for this visitor).
        cross_origin: the origin of another site's script that may read the answer; None for none.
        third_party, framed_page, in_frame: as `apps.gateway.framed` says of the request.

    Attributes:
        set_cookie: a cookie of the gateway's own that goes with it, as a `Set-Cookie` value.
        coding: `br` or `gzip` where what the app says is the same for anybody, so that how well it can be compressed
            gives nothing away.
        link: what a page is going to ask for, as a `Link` value.
    """

    def __init__(
        self,
        send: ASGISendCallable,
        method: str,
        *,
        wants_html: bool,
        route: Route | None = None,
        cross_origin: bytes | None = None,
        third_party: bool = False,
        framed_page: bool = False,
        in_frame: bool = False,
        request_id: str = "",
    ) -> None:
        super().__init__(send, method, wants_html=wants_html, request_id=request_id)
        self.route = route
        self.cross_origin = cross_origin
        self.third_party = third_party
        self.framed_page = framed_page
        self.in_frame = in_frame
        self.set_cookie: bytes | None = None
        self.coding = self.link = b""
        self._held: Held | None = None
        self._scripts: tuple[bytes, ...] = ()

    async def start(self, status: int, headers: Headers) -> None:
        self._held = (
            Held(headers) if self.coding and self.method == "GET" and is_compressible(status, headers) else None
        )
        if self._held is None:
            await super().start(status, self._dressed(status, headers))

    async def hand_over(self, headers: Headers, location: str) -> bool:
        """Let the nginx in front send a whole file, or the part that was asked for.

        Args:
            headers: those of the whole file.
            location: as `accel.location` says.

        Returns:
            False when it cannot, and nothing was answered: the page gets scripts here, or nginx would lose a header.
        """
        dressed = self._dressed(200, headers)
        if self._scripts or not accel.survives(dressed):
            return False
        kept = [(name, value) for name, value in dressed if name not in accel.RENEWED_BY_NGINX]
        await super().start(200, [*kept, (b"x-accel-redirect", location.encode()), (b"content-length", b"0")])
        await self.body(b"", more=False)
        return True

    def _dressed(self, status: int, headers: Headers) -> Headers:
        """The headers with what a Space's host adds to them."""
        if self.set_cookie is not None:
            headers = [*headers, (b"set-cookie", self.set_cookie)]
        if self.third_party:
            headers = framed.with_partitioned_cookies(headers)
        sdk = self.route.sdk if self.route else ""
        self._scripts = framed.scripts(sdk, framed_page=self.framed_page, in_frame=self.in_frame)
        if self._scripts and framed.takes_scripts(status, headers):
            headers = framed.without_whole(headers)
        else:
            self._scripts = ()
        headers = [*headers, (b"content-security-policy", frame_ancestors(self.route))]
        if self.route is not None:
            headers = with_isolation(headers, self.route.custom_headers)
        if self.link and status == 200 and is_page(headers):
            headers = [*headers, (b"link", self.link)]
        if self.cross_origin is not None:
            headers += [
                (b"access-control-allow-origin", self.cross_origin),
                (b"access-control-allow-credentials", b"true"),
            ]
        return with_vary(headers, b"Origin")

    async def body(self, chunk: bytes, *, more: bool) -> None:
        if self._held is not None:
            self._held.body += chunk
            if more:
                return
            held, self._held = self._held, None
            chunk = await compressed(bytes(held.body), self.coding)
            headers = [(k, v) for k, v in held.headers if k not in (b"content-length", b"accept-ranges")]
            headers += [(b"content-encoding", self.coding), (b"content-length", str(len(chunk)).encode())]
            await super().start(200, self._dressed(200, with_vary(headers, b"Accept-Encoding")))
        if self._scripts and chunk:
            chunk, self._scripts = framed.with_scripts(chunk, self._scripts), ()
        await super().body(chunk, more=more)


@dataclass(slots=True)
class Held:
    """An answer of the app that is compressed when all of it is here."""

    headers: Headers
    body: bytearray = field(default_factory=bytearray)


def is_page(headers: Headers) -> bool:
    return (get(headers, b"content-type") or b"").lower().startswith(b"text/html")


def is_compressible(status: int, headers: Headers) -> bool:
    """Whether this is a short answer that nobody has compressed, of which nothing depends on its bytes as they are.

    One without a length may be a stream, and is never waited for.
    """
    said = dict(headers)
    length = int(said.get(b"content-length", b"0"))
    if status != 200 or not SMALLEST_BYTES <= length <= MAX_HELD_BYTES or said.keys() & OF_THE_BYTES:
        return False
    is_text = COMPRESSIBLE.match(said.get(b"content-type", b"").lower()) is not None
    return is_text and b"no-transform" not in said.get(b"cache-control", b"").lower()


def frame_ancestors(route: Route | None) -> bytes:
    """Who may frame a Space: anybody, or its own pages, the portal and the sites that its owner names.

    A private one is framed by nobody whom its owner has not named. An unknown host answers as such a one does. Its own
    pages are always among them: Streamlit shows each component in a frame of its own.
    """
    sites: Sequence[str] | None = ()
    if route is not None:
        sites = who_may_show(route.embedding_sites.split(), disabled=route.disable_embedding, private=route.private)
    if sites is None:
        return b"frame-ancestors *"
    return " ".join(("frame-ancestors 'self'", settings.PORTICO_URL, *sites)).encode()


def with_isolation(headers: Headers, custom: dict[str, str]) -> Headers:
    """The card's `custom_headers` in place of the app's own."""
    wanted = {
        name.lower().encode(): str(value).encode()
        for name, value in custom.items()
        if str(value) in ISOLATION_HEADERS.get(name.lower(), ())
    }
    if not wanted:
        return headers
    return [(k, v) for k, v in headers if k not in wanted] + list(wanted.items())


def with_vary(headers: Headers, name: bytes) -> Headers:
    """`headers` with `name` among what the answer varies by."""
    said = b", ".join(v for k, v in headers if k == b"vary")
    if name.lower() in {part.strip().lower() for part in said.split(b",")} or said.strip() == b"*":
        return headers
    return [(k, v) for k, v in headers if k != b"vary"] + [(b"vary", b", ".join(p for p in (said, name) if p))]


# Under /run/ on the portal's own origin

PASSED_ON = frozenset(
    {
        b"accept-ranges", b"age", b"allow", b"cache-control", b"content-encoding", b"content-language",
        b"content-length", b"content-range", b"content-type", b"date", b"etag", b"expires", b"last-modified",
        b"mcp-protocol-version", b"mcp-session-id", b"pragma", b"retry-after", b"vary", b"x-portico-stage",
    }
)  # fmt: skip
DATA = re.compile(r"application/(json|[\w.+-]+\+json|x-ndjson|jsonl)|text/event-stream")
INERT = re.compile(r"(image/(?!svg)[\w.+-]+|audio/[\w.+-]+|video/[\w.+-]+|font/[\w.+-]+|text/(plain|csv))")
"""Types that do nothing but show themselves; still sent as downloads."""
ACTIVE = re.compile(r"text/(html|css)|(application|text)/[\w.+-]*(xml|script)|image/svg.*")
SAFE: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox; default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
]


class DataAnswer(Answer):
    """An answer under `/run/<owner>/<name>/`: no cookie, no script, no style, no page, no way off.

    Args:
        prefix: `/run/<owner>/<name>`.
        route: the Space.
    """

    def __init__(
        self, send: ASGISendCallable, method: str, *, prefix: str, route: Route | None = None, request_id: str = ""
    ) -> None:
        super().__init__(send, method, wants_html=False, request_id=request_id)
        self.prefix = prefix
        self.route = route

    async def start(self, status: int, headers: Headers) -> None:
        kept = [(k, v) for k, v in headers if k in PASSED_ON and k != b"content-type"]
        said = (get(headers, b"content-type") or b"").decode("latin-1")
        media_type = said.partition(";")[0].strip().lower()
        disposition = (get(headers, b"content-disposition") or b"").decode("latin-1")
        is_download = disposition.strip().lower().startswith("attachment")
        if 300 <= status < 400 and status != 304:
            kept.append((b"location", await self._location(headers)))
        elif ACTIVE.fullmatch(media_type) and not is_download:
            await self._refuse(status)
        if DATA.fullmatch(media_type) and not is_download:
            kept.append((b"content-type", media_type.encode()))
        elif status not in (204, 304):
            shown = media_type if INERT.fullmatch(media_type) else "application/octet-stream"
            kept += [(b"content-type", shown.encode()), (b"content-disposition", _attachment(disposition))]
        await self._head(status, kept + SAFE)

    async def _location(self, headers: Headers) -> bytes:
        """Where to, within this Space's own path; anywhere else is refused."""
        text = (get(headers, b"location") or b"").decode("latin-1")
        try:
            there = urlsplit(text)
        except ValueError:
            await self._refuse(502)
        portal = urlsplit(settings.PORTICO_URL)
        path = there.path
        if (there.netloc and there.netloc != portal.netloc) or (there.scheme and not there.netloc):
            await self._refuse(502)
        if "\\" in text or path.startswith("//") or ".." in unquote(path).split("/"):
            await self._refuse(502)
        if path.startswith("/") and not path.startswith(self.prefix + "/"):
            path = self.prefix + path
        query = f"?{there.query}" if there.query else ""
        return quote(f"{path}{query}", safe="/?#[]@!$&'()*+,;=:%-._~").encode()

    async def _refuse(self, status: int) -> None:
        address = f"{self.route.origin}/" if self.route else settings.PORTICO_URL
        said = {
            "error": "data_only",
            "message": f"This address answers data, for programs. Open {address} in a browser instead.",
        }
        body = json.dumps(said).encode()
        kind, length = (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())
        await self._head(status if status >= 400 else 406, [kind, length, (b"cache-control", b"no-store"), *SAFE])
        await self.body(b"" if self.method == "HEAD" else body, more=False)
        raise Answered


def _attachment(disposition: str) -> bytes:
    """`attachment`, with the file name that the app gave, if it is an ordinary one."""
    found = re.search(r"""filename\*?=(?:UTF-8'')?"?([^";\\/\r\n]{1,200})"?\s*(?:;|$)""", disposition, re.IGNORECASE)
    if not found:
        return b"attachment"
    return f"attachment; filename*=UTF-8''{quote(unquote(found[1].strip()), safe='')}".encode()
