"""Names of hosts as people type them, and as DNS and browsers write them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import idna
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http.request import validate_host

LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
MAX_OCTETS = 253
MAX_SITES = 50
MAX_SITES_CHARACTERS = 20_000
_SITE = re.compile(r"(https?)://(\*\.)?([^/:?#@\[\]*\\]+)(?::([0-9]{1,5}))?/?", re.IGNORECASE)


def ascii_host(text: str) -> str:
    """The name of a host in lower-case ASCII (RFC 5891, mapped as UTS 46 says), without a dot at its end.

    Raises:
        ValidationError: it is no such name.

    >>> ascii_host("Bücher.example")
    'xn--bcher-kva.example'
    """
    try:
        name = idna.encode(text.strip().rstrip("."), uts46=True).decode().lower()
    except (idna.IDNAError, UnicodeError):
        name = ""
    if not name or len(name) > MAX_OCTETS or not all(LABEL.fullmatch(label) for label in name.split(".")):
        raise ValidationError(f"“{text[:100]}” is not the name of a host, as demo.example.org is.")
    return name


def is_under(name: str, domain: str) -> bool:
    """Whether a host's name is this domain, or one under it."""
    return name == domain or name.endswith(f".{domain}")


def is_own(name: str) -> bool:
    """Whether a host's name, in lower case, is the portal's own, or under one of those: never a custom domain."""
    own = (settings.PORTICO_PORTAL_HOST, settings.PORTICO_SPACES_DOMAIN, "localhost")
    return any(is_under(name, domain) for domain in own) or validate_host(name, settings.ALLOWED_HOSTS)


def read_sites(text: str) -> list[str]:
    """The origins of a list that is separated by spaces, commas or lines, each once, as CSP level 3 (section 2.3.1)
    writes them: `https://blog.example.org`, `https://*.example.org`, `http://localhost:8080`.

    Raises:
        ValidationError: one of them is no origin, or they are more than `MAX_SITES`.
    """
    if len(text) > MAX_SITES_CHARACTERS:
        raise ValidationError("That is too long for a list of sites.")
    sites = list(dict.fromkeys(_site(word) for word in text.replace(",", " ").split()))
    if len(sites) > MAX_SITES:
        raise ValidationError(f"At most {MAX_SITES} sites can be named; these are {len(sites)}.")
    return sites


def is_named(sites: Sequence[str], origin: str) -> bool:
    """Whether a page's origin, as the header `Origin` has it (RFC 6454), is among these sites as browsers compare them
    with `frame-ancestors` (CSP level 3, section 6.7.2.7): a wildcard stands for all under it, http for https too."""
    try:
        scheme, _, rest = _site(origin).partition("://")
    except ValidationError:
        return False
    host, colon, port = rest.partition(":")
    parents = host.split(".")
    names = [host, *("*." + ".".join(parents[i:]) for i in range(1, len(parents)))]
    return "*" not in host and any(f"{s}://{name}{colon}{port}" in sites for s in {scheme, "http"} for name in names)


def who_may_show(named: Sequence[str], *, disabled: bool, private: bool) -> Sequence[str] | None:
    """The sites, beside the portal and the Space's own pages, that may show a Space: those `named` by its owner where
    that is the rule, or None for any."""
    if disabled:
        return ()
    return named if private or named else None


def _site(text: str) -> str:
    found = _SITE.fullmatch(text)
    if found is None:
        raise ValidationError(
            f"“{text[:100]}” is not a site. Write https://blog.example.org, or https://*.example.org for all under it."
        )
    scheme, wildcard, host, port = found[1].lower(), found[2] or "", ascii_host(found[3]), found[4]
    if wildcard and "." not in host:
        raise ValidationError(f"“{text[:100]}” names too many sites.")
    if port is not None and not 1 <= int(port) <= 65535:
        raise ValidationError(f"“{text[:100]}” has a port that cannot be.")
    usual = {"http": 80, "https": 443}[scheme]
    return f"{scheme}://{wildcard}{host}" + (f":{int(port)}" if port is not None and int(port) != usual else "")
