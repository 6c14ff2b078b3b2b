"""Builds, with real git, real uv and a real sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apps.builds import installer, services, tasks
from apps.builds.models import Build, Deployment, Environment, Resolution
from apps.repos import store
from apps.sandbox import cgroups
from apps.sandbox.cgroups import Limits
from apps.spaces.logs import last_lines
from apps.spaces.models import Space, Stage
from tests.builds.conftest import commit
from tests.security.package_index import serving, wheel

pytestmark = pytest.mark.integration

PYTHON = "---\nsdk: python\n---\n"


def build(space: Space) -> Build:
    """Run the Space's newest build and return it."""
    newest = Build.objects.filter(space=space).latest("pk")
    services.run_build(newest.pk)
    newest.refresh_from_db()
    space.refresh_from_db()
    return newest


def test_a_revision_becomes_a_deployment(space: Space, data: Path) -> None:
    revision = commit(space, {"README.md": PYTHON, "app.py": "print(1)", "requirements.txt": "six==1.17.0"})
    assert build(space).state == Build.State.SUCCEEDED
    deployment = Deployment.objects.get()
    assert (deployment.revision, deployment.is_current, deployment.app_file) == (revision, True, "app.py")
    assert (data / "deployments" / str(deployment.pk) / "app.py").read_text() == "print(1)"
    assert space.stage == Stage.APP_STARTING
    assert deployment.environment is not None and "six==1.17.0" in deployment.environment.lock
    python = data / "environments" / deployment.environment.key / "bin" / "python"
    assert (
        subprocess.run(
            [str(python), "-c", "import six; print(six.__version__)"], capture_output=True, check=True
        ).stdout
        == b"1.17.0\n"
    )
    assert "six" in last_lines(space.pk, "build", 100)


def test_what_the_front_matter_says_of_its_start_and_answers_is_the_deployments(space: Space) -> None:
    said = "app_port: 8123\nbase_path: /lab\nstartup_duration_timeout: 5m\n"
    headers = {"cross-origin-embedder-policy": "require-corp"}
    said += "custom_headers:\n" + "".join(f"  {name}: {value}\n" for name, value in headers.items())
    commit(space, {"README.md": f"---\nsdk: static\n{said}---\n", "index.html": "hi"})
    build(space)
    made = Deployment.objects.get()
    assert (made.startup_seconds, made.app_port, made.base_path, made.custom_headers) == (300, 8123, "/lab", headers)


def test_each_sdk_version_is_the_one_that_is_installed(
    space: Space, data: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    versions = ("1.0", "2.0")
    files = {v: {"streamlit.py": f"__version__ = {v!r}"} for v in versions}
    wheels = {f"streamlit-{v}": wheel("streamlit", files[v], version=v) for v in versions}
    settings.PORTICO_UV_CACHE = tmp_path / "cache"  # the index's address is another one's at the next run
    with serving(wheels) as (address, _):
        monkeypatch.setenv("UV_DEFAULT_INDEX", address)
        for version in versions:
            readme = f"---\nsdk: streamlit\nsdk_version: '{version}'\n---\n"
            commit(space, {"README.md": readme, "app.py": ""})
            assert build(space).state == Build.State.SUCCEEDED, space.stage_message
            environment = Deployment.objects.get(is_current=True).environment
            assert environment is not None
            python = data / "environments" / environment.key / "bin" / "python"
            asked = [str(python), "-c", "import streamlit; print(streamlit.__version__)"]
            assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == f"{version}\n"


def test_two_spaces_with_the_same_lock_share_one_environment(space: Space, data: Path) -> None:
    from apps.spaces.services import create_space

    other = create_space(space.owner, "other", user=space.created_by, sdk="python")
    for each in (space, other):
        commit(each, {"README.md": PYTHON, "app.py": each.name, "requirements.txt": "six==1.17.0"})
        assert build(each).state == Build.State.SUCCEEDED
    assert Environment.objects.count() == 1
    assert "reused" in last_lines(other.pk, "build")
    assert len([p for p in (data / "environments").iterdir() if not p.name.startswith(".")]) == 1


def test_a_known_resolution_needs_no_index(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(space, {"README.md": PYTHON, "app.py": "1", "requirements.txt": "six==1.17.0"})
    build(space)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    commit(space, {"app.py": "2"})
    assert build(space).state == Build.State.SUCCEEDED


def test_a_factory_build_resolves_anew(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(space, {"README.md": PYTHON, "app.py": "1", "requirements.txt": "six"})
    build(space)
    Resolution.objects.update(lock="made up")
    services.queue_build(space, factory=True)
    assert build(space).state == Build.State.SUCCEEDED
    assert Resolution.objects.get().lock != "made up"


@pytest.mark.parametrize(
    ("requirements", "words"),
    [
        ("this-package-does-not-exist-41", "does not exist"),
        ("six==0.0.99", "no “six==0.0.99”"),
        ("fastapi==0.115.0\nstarlette==0.46.0", "together"),
        ("pysqlite", "wheel"),
    ],
)
def test_requirements_that_cannot_be_met_are_told_in_plain_words(
    space: Space, requirements: str, words: str, data: Path
) -> None:
    commit(space, {"README.md": PYTHON, "app.py": "", "requirements.txt": requirements})
    failed = build(space)
    assert failed.state == Build.State.FAILED
    assert space.stage == Stage.BUILD_ERROR
    assert words in space.stage_message
    assert store.read(space.repository, "main", "requirements.txt").decode() == requirements
    assert not list((data / "environments").glob("*.part")) and not list((data / "deployments").glob("[0-9.]*"))


def test_an_sdk_version_that_does_not_exist_is_told_with_its_name(space: Space) -> None:
    commit(space, {"README.md": "---\nsdk: gradio\nsdk_version: 0.0.99\n---\n", "app.py": ""})
    assert build(space).state == Build.State.FAILED
    assert space.stage == Stage.BUILD_ERROR
    assert "gradio" in space.stage_message and "0.0.99" in space.stage_message, space.stage_message


def test_wrong_front_matter_is_a_config_error_with_its_line(space: Space) -> None:
    commit(space, {"README.md": "---\nsdk: python\ncolorTo: beige\n---\n", "app.py": ""})
    build(space)
    assert (space.stage, "README.md, line 3" in space.stage_message) == (Stage.CONFIG_ERROR, True)


def test_a_failed_build_leaves_the_former_deployment(space: Space) -> None:
    commit(space, {"README.md": PYTHON, "app.py": "1"})
    build(space)
    commit(space, {"README.md": "---\nsdk: docker\n---\n"})
    build(space)
    assert Deployment.objects.get().is_current


def test_a_static_space_needs_no_environment(space: Space) -> None:
    commit(space, {"README.md": "---\nsdk: static\nsdk_version: 6.0.0\n---\n", "index.html": "hi"})
    build(space)
    assert (Deployment.objects.get().environment, space.stage) == (None, Stage.RUNNING)
    assert "README.md says sdk_version, which does nothing" in last_lines(space.pk, "build", 100)


def test_a_superseded_build_deploys_nothing(space: Space) -> None:
    commit(space, {"README.md": PYTHON, "app.py": "1"})
    first = Build.objects.get()
    Build.objects.filter(pk=first.pk).update(state=Build.State.QUEUED)
    commit(space, {"app.py": "2"})
    Build.objects.filter(pk=first.pk).update(state=Build.State.QUEUED)
    services.run_build(first.pk)
    first.refresh_from_db()
    assert first.state == Build.State.SUPERSEDED
    assert not Deployment.objects.exists()


def test_a_build_whose_process_died_is_found_again(space: Space) -> None:
    commit(space, {"README.md": PYTHON, "app.py": "1"})
    lost = Build.objects.get()
    Build.objects.filter(pk=lost.pk).update(state=Build.State.RUNNING)
    assert services.lost_builds() == [lost.pk]
    assert build(space).state == Build.State.SUCCEEDED
    assert services.lost_builds() == []


def test_an_installation_that_died_half_way_is_swept(data: Path) -> None:
    half = data / "environments" / f".{'a' * 64}.1234.part"
    work = data / "builds" / ("b" * 16)
    for left in (half, work):
        left.mkdir(parents=True)
        (left / "x").write_text("half")
    with installer._work_folder() as under_way:
        installer.sweep_leftovers()
        assert under_way.exists()
    assert not half.exists()
    assert list((data / "builds").iterdir()) == []


BUILD_OF_SECONDS = """
import sys
from pathlib import Path
import django
from django.conf import settings
django.setup()
settings.PORTICO_DATA, settings.PORTICO_UV_CACHE = Path(sys.argv[1]), Path(sys.argv[2])
from apps.builds import installer
from apps.sandbox.interpreters import default_interpreter
command = ["/bin/sh", "-c", "echo under way; exec sleep 1000"]
installer._run(command, default_interpreter(), (), lambda line: print(line, flush=True), deadline=float("inf"))
"""


def test_control_groups_of_a_build_that_was_killed_are_swept_and_not_those_of_one_under_way(settings: Any) -> None:
    """As a task worker does it when it starts. Another portal's are none of its business."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "portal.settings"}
    command = [sys.executable, "-c", BUILD_OF_SECONDS, str(settings.PORTICO_DATA), str(settings.PORTICO_UV_CACHE)]
    killed = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    limits = Limits(memory_bytes=2**30, processes=10, cpus=1, disk_bytes=2**20)
    with killed, installer._group(limits) as under_way, subprocess.Popen(["sleep", "1000"]) as its_own:
        try:
            assert killed.stdout is not None and killed.stdout.readline() == b"under way\n"
            killed.kill()
            killed.wait()
            if under_way is not None:  # else this machine has none, and there is nothing to be left
                under_way.add(its_own.pid)
                assert len(cgroups.named(installer._groups())) == 2
            tasks.take_up_lost_builds()
            if under_way is not None:
                assert len(cgroups.named(installer._groups())) == 1
                assert under_way.pids() == {its_own.pid}
                assert its_own.poll() is None
        finally:
            killed.kill()
            its_own.kill()
    assert cgroups.named(installer._groups()) == set()
    assert list((settings.PORTICO_DATA / "builds").glob("*.lock")) == []


def test_a_build_that_takes_too_long_is_ended_and_told(space: Space, settings: Any) -> None:
    settings.PORTICO_BUILD_SECONDS = 0
    commit(space, {"README.md": PYTHON, "app.py": "", "requirements.txt": "six"})
    build(space)
    assert (space.stage, "longer than" in space.stage_message) == (Stage.BUILD_ERROR, True)


def test_the_installer_sees_neither_the_portals_files_nor_its_environment(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """uv itself does the looking: it is asked to read a file of the portal, and to print its environment's index."""
    from apps.sandbox.interpreters import default_interpreter

    passed_on = {"UV_INDEX": "https://pypi.example.org/simple", "https_proxy": "http://proxy:3128",
                 "SSL_CERT_FILE": "/etc/ssl/own.pem"}  # fmt: skip
    for name, value in {**passed_on, "SECRET_KEY": "the-portals-secret"}.items():
        monkeypatch.setenv(name, value)
    hidden = tmp_path / "portal-file"
    hidden.write_text("six")
    said: list[str] = []
    with pytest.raises(installer.InstallError):
        installer._run(["/usr/bin/cat", str(hidden)], default_interpreter(), (), said.append, deadline=float("inf"))
    installer._run(["/usr/bin/env"], default_interpreter(), (), said.append, deadline=float("inf"))
    assert not any("the-portals-secret" in line or line == "six" for line in said)
    assert {f"{name}={value}" for name, value in passed_on.items()} | {"UV_PYTHON_DOWNLOADS=never"} <= set(said)


def test_old_deployments_are_swept_and_the_current_one_stays(space: Space, data: Path) -> None:
    for number in range(services.KEPT_DEPLOYMENTS + 2):
        commit(space, {"README.md": "---\nsdk: static\n---\n", "index.html": str(number)})
        build(space)
    services.sweep()
    kept = set(Deployment.objects.values_list("pk", flat=True))
    assert len(kept) == services.KEPT_DEPLOYMENTS
    assert {int(p.name) for p in (data / "deployments").glob("[0-9]*")} == kept
    assert Deployment.objects.filter(is_current=True).count() == 1


def test_a_build_leaves_no_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = f"test{os.getpid()}"
    monkeypatch.setattr(installer.secrets, "token_hex", lambda size: mark)

    def groups() -> list[Path]:
        return list(Path("/sys/fs/cgroup").glob(f"**/portico-builds-*-{mark}"))

    with installer._group(Limits(memory_bytes=2**30, processes=10, cpus=1, disk_bytes=2**20)) as group:
        assert (group is not None) == bool(groups())
    assert groups() == []
