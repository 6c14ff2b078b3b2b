"""Demos of every kind answer the same through the portal as they do when run directly."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.answers import answers
from tests.running_portal import ROOT, RunningPortal, free_port

pytestmark = pytest.mark.e2e

DEMOS = ROOT / "tests" / "demos"
GRADIO_DEMOS = sorted(folder.parent.name for folder in DEMOS.glob("*/calls.json"))


@contextmanager
def run_directly(portal: RunningPortal, folder: Path, home: Path) -> Iterator[str]:
    """Run the demo as `python app.py` with the Environment that the portal built for it."""
    copy = home / "app"
    shutil.copytree(folder, copy)
    port = free_port()
    python = environment_with_gradio(portal, folder) / "bin" / "python"
    process = subprocess.Popen(
        [str(python), "app.py"], cwd=copy, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
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
    for environment in (portal.data / "environments").iterdir():
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


@pytest.mark.parametrize("name", GRADIO_DEMOS)
def test_a_demo_answers_the_same_through_the_portal_as_directly(
    name: str, portal: RunningPortal, tmp_path: Path
) -> None:
    folder = DEMOS / name
    portal.deploy(folder, f"ada/{name.replace('_', '-')}")
    through = answers(f"{portal.url}/run/ada/{name.replace('_', '-')}/", folder)
    with run_directly(portal, folder, tmp_path) as url:
        directly = answers(url, folder)
    assert through == directly
    assert any(answer is not None for answer in directly)
