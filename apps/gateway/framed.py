"""What a demo needs to work inside a page of another site, the portal's own included.

Browsers that block third-party cookies take an ordinary cookie from a framed page for nothing, and answer
`localStorage` with an error, on which Gradio's chat, for one, stops loading. So, for a framed page alone:

- its cookies become partitioned ones (CHIPS): kept apart for each site that frames the demo, and accepted;
- where storage is withheld, a script stands in for it that forgets when the page is left.

Chromium says by `Sec-Fetch-Storage-Access` that a request comes from such a frame. It sends that to secure
addresses alone, and to those of this machine, so `Secure` is always understood. Others say `Sec-Fetch-Site`.

And a page whose SDK does not tell how high it is gets a script that does, in any frame (`Sec-Fetch-Dest`).
"""

from __future__ import annotations

import re

from apps.gateway import headers as h
from apps.gateway.requests import Request
from apps.spaces.models import SDK

TELL_THEIR_HEIGHT = frozenset({SDK.GRADIO, SDK.STREAMLIT})
"""Both bring iframe-resizer."""

STORAGE_PATH = b"/.portico/storage.js"
STORAGE_SCRIPT = b"""\
// Stands in for storage that the browser withholds from framed pages.
for (const name of ["localStorage", "sessionStorage"]) {
  try {
    window[name];
  } catch {
    const kept = new Map();
    const api = {
      getItem: (key) => kept.get(String(key)) ?? null,
      setItem: (key, value) => void kept.set(String(key), String(value)),
      removeItem: (key) => void kept.delete(String(key)),
      clear: () => kept.clear(),
      key: (index) => [...kept.keys()][index] ?? null,
      get length() {
        return kept.size;
      },
    };
    const value = new Proxy(api, {
      get: (target, key) => (key in target ? target[key] : kept.get(key)),
      set: (target, key, to) => kept.set(String(key), String(to)) && true,
      has: (target, key) => key in target || kept.has(key),
      deleteProperty: (target, key) => kept.delete(key) || true,
      ownKeys: () => [...kept.keys()],
      getOwnPropertyDescriptor: (target, key) =>
        kept.has(key) ? { value: kept.get(key), writable: true, enumerable: true, configurable: true } : undefined,
    });
    Object.defineProperty(window, name, { value, configurable: true });
  }
}
"""
HEIGHT_PATH = b"/.portico/height.js"
HEIGHT_SCRIPT = b"""\
// Tells the page around this one how high it is: `measured`, so that the page's own word goes before.
(() => {
  try {
    if (parent.document) return; // nobody's, or a frame of the demo's own
  } catch {}
  const MOST_LOOKED_AT = 2000;
  const root = document.documentElement;
  let told = 0;
  let later;

  // What is laid out apart from the page's flow counts as far as it is seen: it may be as high as the frame itself.
  const apart = () => {
    let bottom = 0;
    for (const element of [...document.body.querySelectorAll("*")].slice(0, MOST_LOOKED_AT))
      if (/absolute|fixed/.test(getComputedStyle(element).position))
        bottom = Math.max(bottom, element.getBoundingClientRect().bottom);
    return Math.min(bottom, innerHeight);
  };
  const measure = () => {
    later = undefined;
    if (!document.body) return;
    const bar = innerHeight - root.clientHeight;
    const flow = Math.max(root.getBoundingClientRect().height, document.body.scrollHeight) + bar;
    const height = Math.ceil(root.scrollHeight > root.clientHeight ? root.scrollHeight + bar : Math.max(flow, apart()));
    if (height === told) return;
    told = height;
    parent.postMessage({ type: "portico:height", height, measured: true }, "*");
  };
  const soon = () => (later ??= setTimeout(measure, 16)); // frames out of sight are not drawn, but have time

  const sizes = new ResizeObserver(soon);
  sizes.observe(root);
  addEventListener("load", soon, true);
  addEventListener("resize", soon);
  addEventListener("DOMContentLoaded", () => {
    sizes.observe(document.body);
    const what = { subtree: true, childList: true, attributes: true, characterData: true };
    new MutationObserver(soon).observe(document.body, what);
    measure();
  });
})();
"""
SCRIPTS = {STORAGE_PATH: STORAGE_SCRIPT, HEIGHT_PATH: HEIGHT_SCRIPT}
SCRIPT_HEADERS: h.Headers = [
    (b"content-type", b"text/javascript; charset=utf-8"),
    (b"cache-control", b"public, max-age=86400"),
    (b"x-content-type-options", b"nosniff"),
]

_BEGINNING = re.compile(rb"<head(?:\s[^>]*)?>|\s*<!doctype[^>]*>", re.IGNORECASE)
_REPLACED = frozenset({b"samesite", b"secure", b"partitioned"})
_OF_THE_WHOLE = frozenset({b"content-length", b"etag", b"last-modified", b"accept-ranges", b"content-md5", b"digest"})


def is_third_party(request: Request) -> bool:
    """Whether the visitor's page is framed by another site's, and cookies may be withheld from it."""
    return not request.prefix and request.first.get(b"sec-fetch-storage-access") is not None


def is_framed_page(request: Request) -> bool:
    """Whether this asks for a page to be shown in a frame of another site."""
    is_foreign = is_third_party(request) or request.first.get(b"sec-fetch-site") == b"cross-site"
    return is_foreign and is_in_frame(request)


def is_in_frame(request: Request) -> bool:
    """Whether this asks for a page to be shown in a frame, be it of the Space's own."""
    is_frame = request.first.get(b"sec-fetch-dest") in (b"iframe", b"frame")
    return is_frame and request.method == "GET" and not request.prefix


def scripts(sdk: str, *, framed_page: bool, in_frame: bool) -> tuple[bytes, ...]:
    """The paths of the scripts that a page of a Space is to get, given what the two questions above say of it."""
    storage = (STORAGE_PATH,) if framed_page else ()
    return (*storage, HEIGHT_PATH) if in_frame and sdk not in TELL_THEIR_HEIGHT else storage


def partitioned(set_cookie: bytes) -> bytes:
    """A `Set-Cookie` that a browser accepts from a framed page."""
    first, *attributes = set_cookie.split(b";")
    kept = [a for a in attributes if a.split(b"=", 1)[0].strip().lower() not in _REPLACED]
    return b";".join([first, *kept, b" SameSite=None", b" Secure", b" Partitioned"])


def with_partitioned_cookies(headers: h.Headers) -> h.Headers:
    return [(name, partitioned(value) if name == b"set-cookie" else value) for name, value in headers]


def takes_scripts(status: int, headers: h.Headers) -> bool:
    """Whether this answer is a page that scripts can be put into, and whose policy would let them run."""
    kind = (h.get(headers, b"content-type") or b"").split(b";", 1)[0].strip().lower()
    if status in (206, 304) or kind != b"text/html" or h.get(headers, b"content-encoding") not in (None, b"identity"):
        return False
    return all(_lets_run(value) for name, value in headers if name == b"content-security-policy")


def _lets_run(policy: bytes) -> bool:
    directives = {d.split()[0].lower(): d for d in policy.split(b";") if d.strip()}
    scripts = next(
        (directives[n] for n in (b"script-src-elem", b"script-src", b"default-src") if n in directives), None
    )
    return scripts is None or b"'self'" in scripts.split()


def without_whole(headers: h.Headers) -> h.Headers:
    """`headers` without what was said of the page as it was before the scripts came in."""
    return [(name, value) for name, value in headers if name not in _OF_THE_WHOLE]


def with_scripts(beginning: bytes, paths: tuple[bytes, ...]) -> bytes:
    """The first piece of a page, with these scripts before every other."""
    found = None
    for found in _BEGINNING.finditer(beginning[:4096]):
        if found[0][:5].lower() == b"<head":
            break
    place = found.end() if found else 0
    tags = b"".join(b'<script src="' + path + b'"></script>' for path in paths)
    return beginning[:place] + tags + beginning[place:]
