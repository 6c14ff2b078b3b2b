"""Starts a real nginx in a folder of its own, on ports that its configuration names, and stops it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

MAIN = """
{user}
worker_processes 1;
worker_rlimit_nofile 65536;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log notice;
events {{ worker_connections 16384; }}
http {{
    include /etc/nginx/mime.types;
    sendfile on;
    tcp_nopush on;
    gzip on;
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""
"""What Debian's own nginx.conf says, as far as it matters."""


def program() -> str:
    """nginx, also where it is not on an ordinary user's PATH.

    Raises:
        RuntimeError: it is not installed; the text says how to.
    """
    found = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError("nginx is missing; install it with: apt-get install nginx-light")
    return found


def pinned(core: int | None) -> list[str]:
    """What a command begins with that is to use this processor alone; nothing for None."""
    return [] if core is None else ["taskset", "-c", str(core)]


class RunningNginx:
    """One nginx with one worker process.

    Args:
        folder: an empty folder of its own: configuration, logs, temporary files.
        site: configuration as it stands in /etc/nginx/conf.d/, within `http`.
        ports: those that it listens on, waited for at the start.
        core: the processor that it may use; any when None.
        user: account of its worker process, where this process is root's.
    """

    def __init__(
        self, folder: Path, site: str, ports: Sequence[int], *, core: int | None = None, user: str = "root"
    ) -> None:
        self.folder, self.ports, self.core = folder, ports, core
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "site.conf").write_text(site)
        as_user = f"user {user};" if os.getuid() == 0 else ""
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=as_user))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def _argv(self) -> list[str]:
        return [program(), "-p", str(self.folder), "-e", str(self.folder / "error.log"), "-c",
                str(self.folder / "nginx.conf")]  # fmt: skip

    def check(self) -> str:
        """What `nginx -t` says of the configuration.

        Raises:
            RuntimeError: it does not hold; the text is nginx's.
        """
        done = subprocess.run([*self._argv, "-t"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"nginx refuses its configuration:\n{done.stderr}")
        return done.stderr

    def __enter__(self) -> Self:
        self.check()
        self.process = subprocess.Popen([*pinned(self.core), *self._argv], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        for port in self.ports:
            while not listens(port):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError(f"nginx does not listen on {port}:\n{self.error_log()}")
                time.sleep(0.02)
        return self

    def __exit__(self, *exception: Any) -> None:
        self.stop()

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)
            self.process = None

    def error_log(self) -> str:
        return (self.folder / "error.log").read_text() if (self.folder / "error.log").exists() else ""


def listens(port: int) -> bool:
    """Whether something listens on 127.0.0.1 there."""
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0
