"""The README's table of settings is whole, and true."""

from __future__ import annotations

import re

from apps.builds.installer import PASSED_ON
from tests.running_portal import ROOT

INTERNAL = {
    "PORTICO_RUN", "PORTICO_SCHEME", "PORTICO_PORTAL_HOST", "PORTICO_PUBLIC_PORT",  # settings made of others
    "PORTICO_TESTING",  # what tests alone set
}  # fmt: skip


def names_read() -> set[str]:
    """The variables that the code, the scripts and the Makefile read."""
    files = [p for top in ("apps", "portal", "scripts") for p in (ROOT / top).rglob("*") if p.suffix in {".py", ".sh"}]
    text = "\n".join(path.read_text() for path in [*files, ROOT / "Makefile"])
    found = set(re.findall(r"\bPORTICO_[A-Z_]*[A-Z]\b", text)) | set(re.findall(r"\benv\.\w+\(\s*\"(\w+)\"", text))
    for provider in re.findall(r'_credentials\(env, "(\w+)"\)', text):
        found |= {f"PORTICO_{provider}_CLIENT_ID", f"PORTICO_{provider}_CLIENT_SECRET"}
    return found - INTERNAL


def names_documented() -> set[str]:
    table = (ROOT / "README.md").read_text().partition("| variable |")[2].partition("\n\n")[0]
    return {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_every_setting_is_in_the_table_and_nothing_else() -> None:
    documented = names_documented()
    passed_on = {name for name in documented if PASSED_ON.fullmatch(name)}
    assert documented - passed_on == names_read()
    assert {"UV_DEFAULT_INDEX", "UV_INDEX", "HTTPS_PROXY", "SSL_CERT_FILE"} <= passed_on
