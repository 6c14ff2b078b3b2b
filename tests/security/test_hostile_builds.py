"""Packages and repositories made to attack the build: it runs none of their code, and leaves what is not theirs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from apps.builds import installer
from apps.sandbox.interpreters import default_interpreter
from tests.security.package_index import serving, wheel

pytestmark = pytest.mark.integration

SPY = "import os, socket; open(os.path.join({place!r}, 'was-here-' + os.path.basename(os.sys.argv[0])), 'w').write('x')"
"""A line of a `.pth` file: every interpreter that starts in the Environment runs it."""


@pytest.fixture(autouse=True)
def data(settings: Any, tmp_path: Path) -> Path:
    settings.PORTICO_DATA = tmp_path / "data"
    settings.PORTICO_UV_CACHE = tmp_path / "cache"
    return tmp_path / "data"


def install(packages: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch) -> tuple[installer.Installed, list[str]]:
    """Install all of `packages` from an index that has nothing else. Returns it and the build's log."""
    said: list[str] = []
    with serving(packages) as (address, _):
        monkeypatch.setenv("UV_DEFAULT_INDEX", address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        deadline = time.monotonic() + 120
        lock = installer.resolve(default_interpreter(), sorted(packages), said.append, deadline=deadline)
        return installer.install(default_interpreter(), lock, said.append, deadline=deadline), said


def test_a_package_runs_no_code_while_it_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hostile = wheel(
        "hostile",
        {
            "hostile.pth": SPY.format(place="/cache") + "\n",
            "inner.pth": SPY.format(place="/opt/environment") + "\n",
            "hostile.py": "x = 1\n",
        },
    )
    installed, _ = install({"hostile": hostile}, monkeypatch)
    assert list(installed.folder.rglob("hostile*.pyc")), "compiled, nevertheless"
    assert not list((tmp_path / "cache").rglob("was-here*")), "the cache is every Space's"
    assert not list(installed.folder.rglob("was-here*"))


def test_a_package_runs_code_only_where_an_interpreter_of_its_own_compiles_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What `-S` and the bare interpreter are for; and, with them gone, what it is for that the cache is not there."""
    former, online = installer._run, False

    def weakened(command: Sequence[str], *arguments: Any, **options: Any) -> None:
        if "compileall" in command[-1]:
            assert command[1:4] == ["-I", "-S", "-c"]
            command, options = [f"{installer.ENVIRONMENT}/bin/python", *command[3:]], {**options, "online": online}
        former(command, *arguments, **options)

    monkeypatch.setattr(installer, "_run", weakened)
    inside = wheel("inside", {"inside.pth": SPY.format(place="/opt/environment") + "\n"})
    installed, _ = install({"inside": inside}, monkeypatch)
    assert list(installed.folder.glob("was-here*")), "it ran, where it is at home"
    cache = {"shared.pth": SPY.format(place="/cache") + "\n"}
    install({"shared": wheel("shared", cache)}, monkeypatch)
    assert not list((tmp_path / "cache").glob("was-here*"))
    online = True
    install({"other": wheel("other", cache)}, monkeypatch)
    assert list((tmp_path / "cache").glob("was-here*")), "every Space's"


def test_a_wheel_that_unfolds_without_end_is_ended_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, settings: Any, data: Path, tmp_path: Path
) -> None:
    settings.PORTICO_MAX_ENVIRONMENT_BYTES = 32 * 1024**2
    bomb = wheel("bomb", {f"bomb/{number}": bytes(32 * 1024**2) for number in range(8)})
    assert len(bomb) < 1024**2
    with pytest.raises(installer.InstallError, match="GiB of disk that they may have"):
        install({"bomb": bomb}, monkeypatch)
    assert [p.name for p in (data / "environments").iterdir()] == [".locks"]
    assert not list((tmp_path / "cache").glob(".tmp*"))


def test_a_wheel_that_unfolds_is_ended_by_that_bound_alone(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    settings.PORTICO_MAX_ENVIRONMENT_BYTES = 1024**3
    bomb = wheel("bomb", {f"bomb/{number}": bytes(32 * 1024**2) for number in range(8)})
    installed, _ = install({"bomb": bomb}, monkeypatch)
    assert sum(p.stat().st_size for p in installed.folder.glob("lib/*/site-packages/bomb/*")) == 256 * 1024**2


def test_a_package_cannot_name_the_portals_own_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({}) as (inner, asked):
        address = inner.replace("/simple", "/files/other-1.0-py3-none-any.whl")
        leads = wheel("leads", {"leads.py": ""}, requires=(f"other @ {address}",))
        with pytest.raises(installer.InstallError):
            install({"leads": leads}, monkeypatch)
        assert asked == []
