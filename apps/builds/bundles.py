"""Gradio's own page out of its package, by version, for pages of other sites: `PORTICO_DATA/bundles/<version>/`.

It is script that runs on pages which are not the portal's. So it comes from the package itself, by the hashes that the
lock of a Space has, and never out of an Environment, where another package may have put other files in its place.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from pathlib import Path

from django.conf import settings

from apps.builds import installer
from apps.builds.locks import held
from apps.builds.models import Deployment, Environment
from apps.sandbox.interpreters import default_interpreter, find_interpreters

VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,3}((a|b|rc)\d{1,3})?", re.ASCII)
PINNED = re.compile(r"^gradio==(\S{1,40})((?: \\\n +--hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)
"""Gradio in a lock as uv writes it: a package of the portal's index. One from an address has no `==`."""
FRONTEND = "gradio/templates/frontend"
ENTRY = "gradio.js"
MAX_BYTES = 256 * 1024**2
FETCH_SECONDS = 300.0


def folder() -> Path:
    return settings.PORTICO_DATA / "bundles"


def is_there(version: str) -> bool:
    return VERSION.fullmatch(version) is not None and (folder() / version / ENTRY).is_file()


def is_used(version: str) -> bool:
    """Whether a Space of this portal runs with this version of Gradio, unless it was found to have no page."""
    if not VERSION.fullmatch(version) or (folder() / version).is_dir():
        return False
    return Deployment.objects.filter(is_current=True, environment__gradio_version=version).exists()


def version_in(lock: str) -> str:
    """The version of Gradio that a lock takes from the package index; empty when it takes none."""
    found = PINNED.search(lock)
    return found[1] if found and VERSION.fullmatch(found[1]) else ""


def fetch(version: str) -> bool:
    """Have the bundle of a version in its place, by one process at a time.

    Returns:
        False where there is nothing to do: it is there, another process is at it, or no Space uses it.

    Raises:
        InstallError: the package cannot be had, has no page of its own, or is larger than `MAX_BYTES`.
    """
    if is_there(version) or not is_used(version):
        return False
    with held(f"gradio-{version}") as is_ours:
        if not is_ours or is_there(version):
            return False
        environments = Environment.objects.filter(gradio_version=version, deployments__is_current=True)
        environment = environments.order_by("-created_at").first()
        pinned = PINNED.search(environment.lock) if environment else None
        if environment is None or pinned is None:  # gone since it was asked about
            return False
        minor = ".".join(environment.python_version.split(".")[:2])
        interpreter = find_interpreters().get(minor) or default_interpreter()
        deadline = time.monotonic() + FETCH_SECONDS
        with installer.unpacked(interpreter, f"{pinned[0]}\n", deadline=deadline) as packages:
            frontend = packages / FRONTEND
            _keep_ordinary_files(frontend)
            folder().mkdir(parents=True, exist_ok=True)
            if not (frontend / ENTRY).is_file():
                (folder() / version).mkdir()  # so that it is not fetched again and again
                raise installer.InstallError(f"Gradio {version} has no page that other sites could show.")
            frontend.rename(folder() / version)
    return True


def _keep_ordinary_files(root: Path) -> None:
    size = 0
    for where, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(where, name)
            found = path.lstat()
            if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
                path.unlink()
            size += found.st_size
    if size > MAX_BYTES:
        raise installer.InstallError(f"Gradio's own page is larger than the {MAX_BYTES // 1024**2} MiB it may be.")


def sweep() -> None:
    """Delete the bundles of versions that no Environment has any more."""
    kept = set(Environment.objects.exclude(gradio_version="").values_list("gradio_version", flat=True).distinct())
    for bundle in folder().glob("*"):
        if bundle.name not in kept:
            shutil.rmtree(bundle, ignore_errors=True)
