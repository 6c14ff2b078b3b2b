"""The script of the <gradio-app> element, as it is sent: read, stripped of comments and compressed once."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from apps.gateway.codings import BR, GZIP, compress
from apps.gateway.headers import best_coding

SOURCE = Path(settings.BASE_DIR) / "embed_js" / "gradio.js"

# Whole lines only: a comment that shares its line with code stays, so no code can be taken for a comment.
_COMMENT_LINES = re.compile(r"^[ \t]*(?://[^\n]*|/\*\*(?:(?!\*/).)*\*/[ \t]*)\n", re.MULTILINE | re.DOTALL)
_LICENCE = "// <gradio-app> of Portico, Apache-2.0. Its source, with types and comments: embed_js/gradio.js\n"


@dataclass(frozen=True)
class Script:
    """One version of the script in the encodings browsers ask for, by the name of each (RFC 9110, section 8.4.1)."""

    digest: str
    bodies: dict[str, bytes]

    def etag(self, encoding: str) -> str:
        """The entity tag of one encoding: another representation, so another tag."""
        return f'"{self.digest}-{encoding}"'


def script() -> Script:
    """Return the script of the file as it is now; the work is done once for each version of it."""
    return _prepared(SOURCE.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _prepared(modified_ns: int) -> Script:
    body = (_LICENCE + _COMMENT_LINES.sub("", SOURCE.read_text("utf-8"))).encode()
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
