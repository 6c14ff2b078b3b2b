"""What `make run` says where a program is missing. The machine's own programs stay as they are: PATH lacks them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.running_portal import ROOT

NEEDED_BY_THE_SCRIPT = ("sh", "dirname", "id", "uname", "sed", "cat", "cksum", "tr", "ls", "touch")
PROGRAMS = {"bwrap", "git", "mkfs.ext4", "nft", "ip", "pasta"}


def run_setup(folder: Path, programs: set[str], user: int, apt_get: str = "") -> subprocess.CompletedProcess[str]:
    """Run `scripts/setup.sh run` as `id` says, with no more than these programs."""
    path = folder / "bin"
    path.mkdir()
    for name in NEEDED_BY_THE_SCRIPT:
        (path / name).symlink_to(shutil.which(name) or "")
    scripts = {**dict.fromkeys(programs, "exit 0"), "id": f"echo {user}", **({"apt-get": apt_get} if apt_get else {})}
    for name, text in scripts.items():
        (path / name).unlink(missing_ok=True)
        (path / name).write_text(f"#!/bin/sh\n{text}\n")
        (path / name).chmod(0o755)
    environment = {"PATH": str(path), "HOME": str(folder), "PORTICO_VENV": str(folder / "venv")}
    script = ROOT / "scripts" / "setup.sh"
    return subprocess.run(
        [shutil.which("sh") or "sh", str(script), "run"],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("missing", "package"), [("bwrap", "bubblewrap"), ("git", "git")])
def test_an_ordinary_user_is_told_which_debian_package_to_install(missing: str, package: str, tmp_path: Path) -> None:
    told = run_setup(tmp_path, {"bwrap", "git"} - {missing}, user=1000, apt_get="touch $HOME/asked")
    assert told.returncode == 1
    assert told.stderr == f"portico: missing programs; install them with: sudo apt-get install {package}\n"
    assert not (tmp_path / "asked").exists() and not (tmp_path / "venv").exists()


def test_for_root_what_is_missing_is_installed(tmp_path: Path) -> None:
    apt_get = 'echo "$@" >> $HOME/asked; [ "$1" = update ]'  # it fails to install: the script then ends
    told = run_setup(tmp_path, PROGRAMS - {"bwrap", "git"}, user=0, apt_get=apt_get)
    assert told.returncode != 0 and not (tmp_path / "venv").exists()
    update, install = (tmp_path / "asked").read_text().splitlines()
    assert update == "update -qq"
    assert install.startswith("install -y") and install.endswith(" bubblewrap git")


def test_root_without_apt_is_told_instead(tmp_path: Path) -> None:
    told = run_setup(tmp_path, PROGRAMS - {"git"}, user=0)
    assert (told.returncode, "sudo apt-get install git" in told.stderr) == (1, True)
