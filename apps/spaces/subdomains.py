"""How a Space's name becomes a DNS label (RFC 1035: at most 63 octets, letters, digits and hyphens)."""

from __future__ import annotations

import hashlib
import re

LABEL_OCTETS = 63


def subdomain_for(owner: str, name: str, *, hashed: bool = False) -> str:
    """Return the Space's label: `owner-name` in lower case, every run of other characters one `-`.

    Args:
        owner: namespace name.
        name: Space name.
        hashed: append a hash of `owner/name`; for when the plain label is taken. Labels over 63 octets
            always get it.

    >>> subdomain_for("Ada", "Speech_to.Text")
    'ada-speech-to-text'
    """
    label = re.sub(r"[^a-z0-9]+", "-", f"{owner}-{name}".lower()).strip("-")
    if len(label) <= LABEL_OCTETS and not hashed:
        return label
    digest = hashlib.sha256(f"{owner}/{name}".lower().encode()).hexdigest()[:8]
    return f"{label[: LABEL_OCTETS - 9].rstrip('-')}-{digest}"
