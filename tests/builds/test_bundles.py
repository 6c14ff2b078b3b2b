"""Gradio's own page for other sites, out of its package: a real package index on loopback, the real installer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection

from apps.builds import bundles, installer, services
from apps.builds.models import Build, Deployment, Environment
from apps.sandbox.interpreters import default_interpreter
from apps.spaces.models import Space
from tests.security.package_index import serving, wheel

OWN = {
    "gradio/__init__.py": "",
    "gradio/templates/frontend/gradio.js": 'import("./assets/index.js");\n',
    "gradio/templates/frontend/assets/index.js": "export {};\n",
}
OVERWRITES = {
    "gradio/templates/frontend/gradio.js": "steal();\n",
    "gradio/templates/frontend/assets/evil.js": "steal();\n",
}


def deployed(space: Space, lock: str) -> Deployment:
    version = bundles.version_in(lock)
    fields = {"python_version": default_interpreter().version, "lock": lock, "gradio_version": version}
    environment = Environment.objects.create(key=f"of-{version}", **fields)
    build = Build.objects.create(space=space, revision="0" * 40, state=Build.State.SUCCEEDED)
    space.deployments.update(is_current=False)
    return Deployment.objects.create(
        space=space, build=build, environment=environment, sdk="gradio", app_file="app.py", startup_seconds=60
    )


def in_thread(version: str) -> bool:
    try:
        return bundles.fetch(version)
    finally:
        connection.close()


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_it_is_the_packages_own_whatever_else_a_space_installs_and_it_is_fetched_once(
    space: Space, data: Path, tmp_path: Path, settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PORTICO_UV_CACHE = tmp_path / "cache"
    without_page = wheel("gradio", {"gradio/__init__.py": ""}, version="2.0")
    packages = {
        "gradio": wheel("gradio", OWN),
        "gradio-2.0": without_page,
        "overwrites": wheel("overwrites", OVERWRITES),
    }
    with serving(packages) as (address, asked):
        monkeypatch.setenv("UV_DEFAULT_INDEX", address)
        lock, other_lock = (
            installer.resolve(default_interpreter(), wanted, lambda line: None, deadline=float("inf"))
            for wanted in (["gradio==1.0", "overwrites"], ["gradio==2.0"])
        )
        deployed(space, lock)
        with ThreadPoolExecutor(3) as pool:
            assert sorted(pool.map(in_thread, ["1.0"] * 3)) == [False, False, True]
        asked.clear()
        assert not bundles.fetch("1.0") and not bundles.fetch("2.0"), "it is there; no Space uses the other"
        deployed(space, other_lock)
        with pytest.raises(installer.InstallError, match="no page"):
            bundles.fetch("2.0")
        assert not bundles.fetch("2.0") and not bundles.is_there("2.0"), "nor is it asked for again"
        assert sum(path.endswith("2.0-py3-none-any.whl") for path in asked) == 1
    found = {str(f.relative_to(bundles.folder())): f.read_text() for f in bundles.folder().rglob("*") if f.is_file()}
    beginning = "gradio/templates/frontend/"
    assert found == {f"1.0/{path.removeprefix(beginning)}": text for path, text in OWN.items() if beginning in path}
    assert list((data / "builds").iterdir()) == [], "nothing is left of it"

    services.sweep()
    assert bundles.is_there("1.0"), "an Environment has it"
    Deployment.objects.all().delete()
    Environment.objects.all().delete()
    services.sweep()
    assert list(bundles.folder().iterdir()) == []


def test_what_is_no_ordinary_file_goes_and_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "a.js").write_text("12345")
    (tmp_path / "assets" / "link.js").symlink_to("/etc/passwd")
    (tmp_path / "assets" / "folder").symlink_to("/etc")
    bundles._keep_ordinary_files(tmp_path)
    assert [f.name for f in (tmp_path / "assets").iterdir()] == ["a.js"]
    monkeypatch.setattr(bundles, "MAX_BYTES", 4)
    with pytest.raises(installer.InstallError, match="larger than"):
        bundles._keep_ordinary_files(tmp_path)
