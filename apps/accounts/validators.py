"""What may be a name, of a Namespace or of a Space."""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError

RESERVED_NAMES = frozenset(
    """
    about accounts admin api assets auth blog chat collections contact datasets docs embed enterprise explore
    favicon healthz help home hub join learn login logout metrics moderation models new notifications oauth oembed
    organizations papers portico posts pricing privacy readyz robots run search security settings setup signup
    spaces static status support tasks terms tokens uploads user users welcome ws www
    """.split()  # noqa: SIM905
) | {"new-space"}
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


def validate_name(name: str) -> None:
    """Check the spelling that namespaces and Spaces share, which is the Hub's: letters, digits, `-`, `_`, `.`.

    Raises:
        ValidationError: with the reason, for a person to read.
    """
    if not NAME.fullmatch(name):
        raise ValidationError(
            "Use letters, digits, “-”, “_” and “.” only, with a letter or digit at both ends.", code="malformed"
        )
    if "--" in name or ".." in name:
        raise ValidationError("“--” and “..” are not allowed in a name.", code="malformed")
    if name.lower().endswith((".git", ".ipynb")):
        raise ValidationError("A name cannot end in “.git” or “.ipynb”.", code="malformed")


def validate_namespace_name(name: str) -> None:
    """Check a user's or organisation's name; like `validate_name`, and not one the portal needs itself."""
    if len(name) < 2:
        raise ValidationError("Use at least two characters.", code="malformed")
    validate_name(name)
    if name.lower() in RESERVED_NAMES:
        raise ValidationError("This name is reserved.", code="reserved")
