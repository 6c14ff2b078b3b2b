"""deploy/Caddyfile as it stands, on free ports, with certificates of its own, in front of any portal."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.deploy.front import Front, write_certificates
from tests.running_nginx import listens
from tests.running_portal import ROOT
from tests.waiting import wait_until

OPTIONS = """
	admin off
	default_bind 127.0.0.1
	http_port {plain_port}
	https_port {port}
	# In place of Let's Encrypt, which cannot be reached from here.
	local_certs
	skip_install_trust
	storage file_system {folder}/storage
"""


@contextmanager
def caddy(front: Front, upstream: int) -> Iterator[None]:
    """The configuration of deploy/ with nothing changed but names of folders and ports, and who signs certificates.

    Args:
        upstream: port of the web process.

    Raises:
        RuntimeError: Caddy is missing, or does not take its configuration; the text says why.
    """
    program = shutil.which("caddy")
    if program is None:
        raise RuntimeError("caddy is missing; install it with: apt-get install caddy")
    folder = front.folder
    write_certificates(folder)
    text = (ROOT / "deploy" / "Caddyfile").read_text()
    own = OPTIONS.format(port=front.port, plain_port=front.plain_port, folder=folder)
    for ours, theirs in {
        "127.0.0.1:8000": f"127.0.0.1:{upstream}",
        "/etc/portico/certificates/spaces.example.net": f"{folder}/certificates/spaces.example.net",
        "\n{\n": f"\n{{{own}",
    }.items():
        assert ours in text
        text = text.replace(ours, theirs)
    file, log = folder / "Caddyfile", folder / "caddy.log"
    file.write_text(text)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    argv = [program, "run", "--adapter", "caddyfile", "--config", str(file)]
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stderr=output, env=environment)
    try:
        root = folder / "storage" / "pki" / "authorities" / "local" / "root.crt"
        ports = (front.port, front.plain_port)
        wait_until(
            lambda: process.poll() is not None or (root.exists() and all(map(listens, ports))), what=log.read_text
        )
        if process.poll() is not None:
            raise RuntimeError(f"Caddy ended:\n{log.read_text()}")
        front.authority.write_bytes(front.authority.read_bytes() + root.read_bytes())
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
