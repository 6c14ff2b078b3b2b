"""Demos run without the portal, to compare with."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from apps.spaces.card import find_app_file
from tests.running_portal import RunningPortal, free_port

_getaddrinfo = socket.getaddrinfo


def local_getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
    """Resolve `*.localhost` as browsers do (RFC 6761, section 6.3); the C library does not."""
    name = host.decode() if isinstance(host, bytes) else host
    return _getaddrinfo("127.0.0.1" if name and name.endswith(".localhost") else host, *arguments, **options)


@contextmanager
def run_directly(portal: RunningPortal, folder: Path, home: Path) -> Iterator[str]:
    """Run the demo as `python app.py` with the Environment that the portal built for it."""
    copy = home / "app"
    shutil.copytree(folder, copy)
    app_file = find_app_file("gradio", [file.name for file in copy.iterdir()]) or "app.py"
    port = free_port()
    python = environment_with_gradio(portal, folder) / "bin" / "python"
    process = subprocess.Popen(
        [str(python), app_file], cwd=copy, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "GRADIO_SERVER_PORT": str(port),
             "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(home / "gradio")},
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}/"
        wait_until_it_answers(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def environment_with_gradio(portal: RunningPortal, folder: Path) -> Path:
    """An Environment with Gradio and whatever the demo's requirements name."""
    requirements = folder / "requirements.txt"
    names = requirements.read_text().split() if requirements.exists() else []
    for environment in portal.environments():
        packages = next(iter(environment.glob("lib/python*/site-packages")), None)
        if packages and all((packages / name.split("=")[0].replace("-", "_")).is_dir() for name in ["gradio", *names]):
            return environment
    raise AssertionError(f"no Environment of the portal has what {folder.name} needs")


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, follow_redirects=True).status_code < 500:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer (exit status {process.poll()})")
