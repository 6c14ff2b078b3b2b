"""What the gateway says itself: refusals, and the page that turns into the demo.

Each is one `Page`, written as a small HTML page for people (the colours of static/portico.css in both themes, nothing
loaded) and as JSON for programs.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from dataclasses import dataclass

from django.conf import settings

from apps.gateway.headers import Headers
from apps.spaces.models import Stage

RETRY_SECONDS = 5
PASSWORD_PATH = b"/.portico/password"
"""Where the page that asks for a Space's password sends it."""
READY_PATH = b"/.portico/ready"
"""Asked by the waking page: answers once the Space can be visited."""

STYLE = """
:root{color-scheme:light dark}
body{margin:0;min-height:100vh;display:grid;place-items:center;font:16px/1.5 system-ui,sans-serif;
background:light-dark(#faf8f5,#161311);color:light-dark(#1f1b18,#f1ebe4)}
main{max-width:32rem;padding:2rem;text-align:center}
h1{font-size:1.35rem;font-weight:600;margin:0 0 .5rem}
p{margin:.4rem 0;color:light-dark(#655d55,#b0a69b);overflow-wrap:anywhere}
a{color:light-dark(#a1441d,#f09a6c)}
input,button{font:inherit;padding:.4rem .6rem}
.bar{height:3px;width:9rem;margin:0 auto 1.5rem;overflow:hidden;border-radius:2px;
background:light-dark(#e3dcd2,#38312b)}
.bar::before{content:"";display:block;height:100%;width:40%;background:light-dark(#a1441d,#f09a6c);
animation:go 1.4s ease-in-out infinite}
@keyframes go{from{transform:translateX(-100%)}to{transform:translateX(250%)}}
@media (prefers-reduced-motion:reduce){.bar::before{animation:none;width:100%}}
"""

SCRIPT = """
const stage = document.getElementById("stage");
async function ask() {
  try {
    const answer = await fetch("READY", {cache: "no-store"});
    const said = await answer.json();
    if (answer.ok || said.waits === false) return location.reload();
    if (said.message) stage.textContent = said.message;
  } catch {}
  setTimeout(ask, 1000);
}
setTimeout(ask, 500);
""".replace("READY", READY_PATH.decode())


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; style-src {_source(STYLE)}; script-src {_source(SCRIPT)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
).encode()


FORM_POLICY = POLICY.replace(b"form-action 'none'", b"form-action 'self'").replace(
    f"script-src {_source(SCRIPT)}; connect-src 'self'; ".encode(), b""
)
FORM = (
    f'<form method=post action="{PASSWORD_PATH.decode()}"><input type=hidden name=to value="{{wanted}}">'
    "<p><label for=password>Password</label><p><input id=password name=password type=password required autofocus "
    "maxlength=128 autocomplete=current-password> <button>Enter</button></form>"
)


@dataclass(frozen=True, slots=True)
class Page:
    """One thing the gateway has to say.

    Attributes:
        status: HTTP status.
        code: for programs, stable.
        title: for people.
        message: for both, in plain words.
        stage: the Space's stage, where it is the reason.
        retry_after: seconds after which asking again makes sense.
        waits: whether the page asks again by itself.
        link: address and text of the one link that helps.
        form: the address that was wanted, where the page asks for a password; None where it asks for none.
    """

    status: int
    code: str
    title: str
    message: str
    stage: str = ""
    retry_after: int | None = None
    waits: bool = False
    link: tuple[str, str] | None = None
    form: str | None = None

    @property
    def policy(self) -> bytes:
        """The Content-Security-Policy of the page."""
        return POLICY if self.form is None else FORM_POLICY

    def headers(self) -> Headers:
        headers = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
        if self.retry_after is not None:
            headers.append((b"retry-after", str(self.retry_after).encode()))
        if self.stage:
            headers.append((b"x-portico-stage", self.stage.encode()))
        if self.status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="portico"'))  # RFC 9110, section 15.5.2
        return headers

    @property
    def is_traceable(self) -> bool:
        """Whether somebody may come and ask about it. Those about a name that is not there must not differ."""
        return self.code in TRACEABLE

    def as_json(self, reference: str = "") -> bytes:
        """Args:
        reference: the request's id, for whoever asks the operator about it.
        """
        said: dict[str, object] = {"error": self.code, "message": self.message}
        if reference:
            said["reference"] = reference
        if self.stage:
            said |= {"stage": self.stage, "waits": self.waits}
        return json.dumps(said).encode()

    def as_html(self, reference: str = "") -> bytes:
        link = ""
        if self.link:
            address, text = map(html.escape, self.link)
            link = f'<p><a href="{address}" target="_blank" rel="noopener">{text}</a>'
        return (
            "<!doctype html><html lang=en><meta charset=utf-8>"
            '<meta name=viewport content="width=device-width,initial-scale=1"><meta name=robots content=noindex>'
            + (f"<noscript><meta http-equiv=refresh content={RETRY_SECONDS}></noscript>" if self.waits else "")
            + f"<title>{html.escape(self.title)}</title><style>{STYLE}</style><main>"
            + ("<div class=bar></div>" if self.waits else "")
            + f"<h1>{html.escape(self.title)}</h1><p id=stage>{html.escape(self.message)}</p>"
            + link
            + (FORM.format(wanted=html.escape(self.form)) if self.form is not None else "")
            + (f"<p><small>Reference: {html.escape(reference)}</small>" if reference else "")
            + "</main>"
            + (f"<script>{SCRIPT}</script>" if self.waits else "")
        ).encode()


TRACEABLE = frozenset(
    {
        "bad_gateway",
        "bad_request",
        "failing",
        "gateway_timeout",
        "internal_error",
        "too_busy",
        "too_many_requests",
        "unavailable",
    }
)


def bad_request(why: str, status: int = 400) -> Page:
    return Page(status, "bad_request", "This request cannot be understood", f"The request was refused: {why}.")


def too_large(limit: int) -> Page:
    return Page(
        413, "too_large", "Too large", f"A request may carry at most {limit / 1024**2:,.0f} MiB; this one has more."
    )


def method_not_allowed(method: str) -> Page:
    return Page(405, "method_not_allowed", "Not possible here", f"This Space is static: it does not answer {method}.")


def not_found(subdomain: str | None) -> Page:
    """For a name that never was and for a private Space alike, byte for byte."""
    link = None
    if subdomain:
        link = (f"{settings.PORTICO_URL}/open/{subdomain}", "Is it yours? Open it through the portal.")
    return Page(404, "not_found", "There is no Space here", "There is no Space at this address.", link=link)


def password_required(wanted: str, *, refused: str = "", wait: int | None = None) -> Page:
    """Ask for the Space's password.

    Args:
        wanted: path and query to go on to.
        refused: why the password that was sent does not open it, in a sentence.
        wait: seconds until another may be sent.
    """
    message = "Its owner lets in whoever knows it. Programs send an access token of somebody who needs none."
    return Page(
        401 if wait is None else 429,
        "password_required" if wait is None else "too_many_attempts",
        "This Space asks for a password",
        f"{refused} {message}".strip(),
        retry_after=wait,
        form=wanted,
    )


def no_entry(subdomain: str, *, asks_password: bool) -> Page:
    """For whoever may not see the Space any more."""
    return password_required("/") if asks_password else not_found(subdomain)


def no_such_file() -> Page:
    return Page(404, "no_such_file", "Not found", "This Space has no such file.")


def withheld() -> Page:
    return Page(
        410, "withheld", "This Space was taken down", "Moderators of this portal have taken this Space down.",
        stage=Stage.STOPPED,
    )  # fmt: skip


def too_busy() -> Page:
    return Page(
        429, "too_busy", "Too many visitors at once",
        "This Space has as many open connections as it may. Try again in a moment.", retry_after=RETRY_SECONDS,
    )  # fmt: skip


def too_many_requests(seconds: int) -> Page:
    return Page(
        429, "too_many_requests", "Too many requests",
        "There were too many requests from your network, or to this Space. Try again in a moment.",
        retry_after=seconds,
    )  # fmt: skip


def unavailable() -> Page:
    return Page(
        503, "unavailable", "Not available just now",
        "The portal cannot reach what it needs to run this Space. Try again in a moment.", retry_after=RETRY_SECONDS,
    )  # fmt: skip


def bad_gateway() -> Page:
    return Page(
        502, "bad_gateway", "The app did not answer",
        "The app broke off, or answered something that cannot be passed on.", retry_after=RETRY_SECONDS,
    )  # fmt: skip


def failing(seconds: int) -> Page:
    return Page(
        503, "failing", "The app does not answer",
        "The app has failed to answer for a while, so it is left alone for some seconds. Try again in a moment.",
        retry_after=seconds,
    )  # fmt: skip


def internal_error() -> Page:
    return Page(500, "internal_error", "Something went wrong", "The portal failed to handle this request.")


def gateway_timeout() -> Page:
    return Page(504, "gateway_timeout", "The app took too long", "The app did not answer in time.")


WAITING_STAGES = frozenset({Stage.BUILDING, Stage.APP_STARTING, Stage.RUNNING, Stage.SLEEPING})

_TITLES = {
    Stage.NO_APP_FILE: "Nothing to run yet",
    Stage.CONFIG_ERROR: "This Space is not set up correctly",
    Stage.BUILD_ERROR: "This Space could not be built",
    Stage.RUNTIME_ERROR: "The app failed to start",
    Stage.PAUSED: "This Space is paused",
    Stage.STOPPED: "This Space is stopped",
    Stage.BUILDING: "Being built",
}
_MESSAGES = {
    Stage.NO_APP_FILE: "Its owner has not uploaded an app yet.",
    Stage.CONFIG_ERROR: "Its owner finds the reason on the Space's page.",
    Stage.BUILD_ERROR: "Its owner finds the build log on the Space's page.",
    Stage.RUNTIME_ERROR: "Its owner finds the log on the Space's page.",
    Stage.PAUSED: "Its owner paused it. It runs again when they restart it.",
    Stage.STOPPED: "It does not run at the moment.",
    Stage.BUILDING: "This page becomes the app as soon as it is built.",
}
_SAY_ALL = frozenset({Stage.NO_APP_FILE, Stage.BUILDING, Stage.RUNTIME_ERROR, Stage.STOPPED})
"""A stage's message adds nothing for visitors; a crash's log lines are for the owner alone, on the portal."""


def for_stage(stage: str, slug: str, detail: str = "") -> Page:
    """Why a Space does not answer now.

    Args:
        stage: its stage.
        slug: `owner/name`.
        detail: what the stage's message says.
    """
    known = Stage(stage) if stage in Stage.values else Stage.STOPPED
    waits = known in WAITING_STAGES
    first_line = detail.strip().partition("\n")[0][:300] if known not in _SAY_ALL else ""
    return Page(
        status=503,
        code="not_running",
        title=_TITLES.get(known, "Waking up"),
        message=f"{first_line} {_MESSAGES.get(known, 'This page becomes the app as soon as it is awake.')}".strip(),
        stage=known.value,
        retry_after=RETRY_SECONDS if waits else None,
        waits=waits,
        link=None if waits else (f"{settings.PORTICO_URL}/spaces/{slug}", slug),
    )
