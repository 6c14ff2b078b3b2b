"""Files that an nginx in front sends in the portal's place: the portal decides, nginx moves the bytes.

An answer names the file by `X-Accel-Redirect`, and nginx answers with it, ranges included. That is done where the
operator says so (`PORTICO_ACCEL=nginx`) and the proxy itself asks for it by `X-Forwarded-Accel: nginx`, as
deploy/nginx-server.conf does: the web server takes `X-Forwarded-*` from nobody but trusted proxies. Anybody else gets
the bytes from here. Apps cannot name a file: their `X-Accel-*` headers end in `apps.gateway.headers.from_upstream`.

nginx opens the file anew, by its path, and follows no link on the way (`disable_symlinks on`), so whatever became of
the folder meanwhile, nothing outside of it is sent.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from django.conf import settings

from apps.gateway import headers as h

ASKED_BY = b"x-forwarded-accel"
LOCATION = "/.portico/accel/"
"""The internal location of deploy/nginx-server.conf; on a Space's host nothing of an app's lies below `/.portico/`."""
FOLDERS = frozenset({"deployments"})
"""Those of the data folder that the location shows. What else lies there (keys, the database) it cannot name."""
KEPT_BY_NGINX = frozenset(
    {b"accept-ranges", b"cache-control", b"content-disposition", b"content-type", b"expires", b"set-cookie"}
)
RENEWED_BY_NGINX = frozenset({b"accept-ranges", b"content-length", b"last-modified"})
"""What nginx says of the file by itself."""
PASSED_ON = frozenset(
    {
        b"access-control-allow-credentials", b"access-control-allow-origin", b"content-encoding",
        b"content-security-policy", b"cross-origin-embedder-policy", b"cross-origin-opener-policy",
        b"cross-origin-resource-policy", b"etag", b"referrer-policy", b"strict-transport-security", b"vary",
        b"x-content-type-options", b"x-frame-options", b"x-repo-commit", b"x-request-id",
    }
)  # fmt: skip
"""What deploy/nginx-server.conf copies from our answer, a line for each; any other header would be lost."""


def is_asked_for(headers: h.Headers) -> bool:
    """Whether the proxy that this request came through sends files, under conditions that it judges as we do."""
    if settings.PORTICO_ACCEL != "nginx" or h.get(headers, ASKED_BY) != b"nginx":
        return False
    return h.get(headers, b"if-match") is None  # it does not know our ETag when it looks at that


def location(path: Path) -> str | None:
    """What `X-Accel-Redirect` says for the file at `path`; None where nginx cannot be told.

    Args:
        path: absolute, without `..`. The caller has opened it and found an ordinary file.
    """
    try:
        below = path.relative_to(settings.PORTICO_DATA)
    except ValueError:
        return None
    if len(below.parts) < 2 or below.parts[0] not in FOLDERS or ".." in below.parts:
        return None
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in str(below)):  # what its regular expressions may stumble over
        return None
    return LOCATION + quote(str(below))


def survives(headers: h.Headers) -> bool:
    """Whether nginx's answer would have all of these headers, each once."""
    names = [name for name, _ in headers if name != b"set-cookie"]
    known = KEPT_BY_NGINX | RENEWED_BY_NGINX | PASSED_ON
    return len(names) == len(set(names)) and known.issuperset(names)
