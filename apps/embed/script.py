"""The script of the <gradio-app> element, as it is sent: read, without comments and indentation, compressed once."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from apps.embed.models import ScriptVersion
from apps.gateway.codings import BR, GZIP, compress
from apps.gateway.headers import best_coding

SOURCE = Path(settings.BASE_DIR) / "embed_js" / "gradio.js"

# Whole lines only: a comment that shares its line with code stays, so no code can be taken for a comment.
_COMMENT_LINES = re.compile(r"^[ \t]*(?://[^\n]*|/\*\*(?:(?!\*/).)*\*/[ \t]*)\n", re.MULTILINE | re.DOTALL)
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)
_LICENCE = "// <gradio-app> of Portico, Apache-2.0. Its source, with types and comments: embed_js/gradio.js\n"


@dataclass(frozen=True)
class Script:
    """One version of the script in the encodings browsers ask for, by the name of each (RFC 9110, section 8.4.1)."""

    digest: str
    bodies: dict[str, bytes]

    @property
    def integrity(self) -> str:
        """What a page may demand of it (Subresource Integrity, section 3.5)."""
        return "sha384-" + base64.b64encode(hashlib.sha384(self.bodies["identity"]).digest()).decode()

    def etag(self, encoding: str) -> str:
        """The entity tag of one encoding: another representation, so another tag."""
        return f'"{self.digest}-{encoding}"'


def script() -> Script:
    """Return the script of the file as it is now; the work is done once for each version of it."""
    return _prepared(SOURCE.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _prepared(modified_ns: int) -> Script:
    code = _INDENT.sub("", _COMMENT_LINES.sub("", SOURCE.read_text("utf-8")))
    return _pack((_LICENCE + code).encode())


def version(digest: str) -> Script | None:
    """The version of that digest; None when this portal never had it."""
    current = script()
    if digest == current.digest:
        return current
    try:
        return _kept(digest)
    except ScriptVersion.DoesNotExist:
        return None


@lru_cache(maxsize=8)
def _kept(digest: str) -> Script:
    return _pack(ScriptVersion.objects.get(digest=digest).body.encode())


def keep(**_: object) -> None:
    """Keep the version of now for pages that name it. Called whenever the database is brought up to date."""
    current = script()
    ScriptVersion.objects.get_or_create(digest=current.digest, defaults={"body": current.bodies["identity"].decode()})


def _pack(body: bytes) -> Script:
    return Script(
        digest=hashlib.sha256(body).hexdigest()[:20],
        bodies={
            "br": compress(body, BR, thoroughly=True),
            "gzip": compress(body, GZIP),
            "identity": body,
        },
    )


def best_encoding(accepted: str) -> str:
    """Choose among `br`, `gzip` and `identity` by an Accept-Encoding header."""
    return best_coding(accepted.encode()).decode() or "identity"
