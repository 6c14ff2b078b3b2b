"""What a Space's requirements.txt may ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.conf import settings
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

MAX_BYTES = 64 * 1024
MAX_LINES = 1000
COMMENT = re.compile(r"(^|\s)#.*$")
ADDRESS = re.compile(r"(\w+\+)?\w+://|(git|hg|svn|bzr)\+|\.{0,2}/|[A-Za-z]:[\\/]|\S+\.(whl|zip|tar\.gz)$")


class RequirementRefused(ValueError):
    """What is wrong with requirements.txt, with its line, for its author."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(f"requirements.txt, line {line}: {message}")


@dataclass(frozen=True)
class Requirements:
    """What requirements.txt names: one requirement a line, and the canonical names."""

    lines: tuple[str, ...]
    names: frozenset[str]

    def pins(self, name: str) -> bool:
        """Whether the version of package `name` is said."""
        return any(
            canonicalize_name(r.name) == name and (r.specifier or r.url) for r in map(Requirement, self.lines)
        )  # fmt: skip


def parse_requirements(data: bytes) -> Requirements:
    """Read requirements.txt: package names with versions, extras and markers (PEP 508), and nothing that makes the
    installer read or run something else.

    Raises:
        RequirementRefused: with the line.
    """
    if len(data) > MAX_BYTES:
        raise RequirementRefused(f"the file is larger than {MAX_BYTES // 1024} KiB", 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequirementRefused("the file is not UTF-8", data[: error.start].count(b"\n") + 1) from None
    rows = text.splitlines()
    if len(rows) > MAX_LINES:
        raise RequirementRefused(f"the file has more than {MAX_LINES} lines", MAX_LINES)
    found: list[Requirement] = []
    number = 0
    while number < len(rows):
        first, row = number + 1, rows[number]
        while row.endswith("\\") and number + 1 < len(rows):
            number += 1
            row = row[:-1] + rows[number]
        number += 1
        if requirement := _one(COMMENT.sub("", row).strip(), first):
            found.append(requirement)
    return Requirements(tuple(map(str, found)), frozenset(canonicalize_name(r.name) for r in found))


def _one(row: str, line: int) -> Requirement | None:
    if not row:
        return None
    if row.startswith("-"):
        option = row.split(maxsplit=1)[0].split("=", maxsplit=1)[0]
        raise RequirementRefused(f"options are not taken here ({option}); name packages only", line)
    row = re.sub(r"\s+--hash[= ]\S+", "", row)
    if ADDRESS.match(row):
        raise RequirementRefused(f"“{row[:100]}” is an address or a file; {_policy()}", line)
    try:
        requirement = Requirement(row)
    except InvalidRequirement:
        raise RequirementRefused(f"“{row[:100]}” is not a requirement; write it as “package>=1.2”", line) from None
    if requirement.url and not (settings.PORTICO_ALLOW_URL_REQUIREMENTS and requirement.url.startswith("https://")):
        raise RequirementRefused(f"“{requirement.name}” is asked for by an address; {_policy()}", line)
    return requirement


def _policy() -> str:
    if settings.PORTICO_ALLOW_URL_REQUIREMENTS:
        return "write it as “name @ https://…”"
    return "this portal installs from its package index only"
