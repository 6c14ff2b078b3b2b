"""What `make run` says where a program is missing. The machine's own programs stay as they are: PATH lacks them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.running_portal import ROOT

NEEDED_BY_THE_SCRIPT = ("sh", "dirname", "id", "uname", "sed", "cat", "cksum", "tr", "ls", "touch", "rm")
PROGRAMS = {"bwrap", "git", "mkfs.ext4", "nft", "ip", "pasta"}
PYTHON = """#!/bin/sh
case "$1 $2" in
    "--version ") echo "Python 3.12.1" ;;
    "-m venv") echo "$0 makes $3" >> "$HOME/asked"; /bin/mkdir -p "$3/bin" "$3/lib"; /bin/cp "$0" "$3/bin/python" ;;
    "-m pip") echo "pip $3" >> "$HOME/asked"
        printf '#!/bin/sh\\necho "uv $2, Pythons: $UV_PYTHON_DOWNLOADS" >> "$HOME/asked"' > "${0%/*}/uv"
        /bin/chmod +x "${0%/*}/uv" ;;
esac
"""
"""A Python that suits. It writes down what it is asked to do, and installs a uv that does likewise."""


def run_setup(folder: Path, programs: set[str], user: int, apt_get: str = "") -> subprocess.CompletedProcess[str]:
    """Run `scripts/setup.sh run` as `id` says, with no more than these programs."""
    path = folder / "bin"
    path.mkdir(exist_ok=True)
    for name in NEEDED_BY_THE_SCRIPT:
        (path / name).unlink(missing_ok=True)
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


def test_pyenvs_python_is_found_and_a_second_run_installs_nothing(tmp_path: Path) -> None:
    python = tmp_path / ".pyenv" / "versions" / "3.12.1" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    first = run_setup(tmp_path, PROGRAMS, user=1000)
    assert first.returncode == 0, first.stderr
    venv = tmp_path / "venv"
    assert f"making {venv} with Python 3.12.1 of {python}\n" in first.stderr
    done = [f"{python} makes {venv}", "pip install", "uv install, Pythons: never"]
    assert (tmp_path / "asked").read_text().splitlines() == done
    second = run_setup(tmp_path, PROGRAMS, user=1000)
    assert (second.returncode, second.stderr) == (0, "")
    assert (tmp_path / "asked").read_text().splitlines() == done
