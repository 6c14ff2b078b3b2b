"""`portico <verb>` beside a portal: what it prints, and what it says when it cannot."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from apps.accounts.models import AccessToken, User
from apps.accounts.tokens import user_for_token
from apps.repos import store
from apps.spaces.logs import LogWriter
from apps.spaces.models import SDK, Space, Stage
from portal import supervisor
from portal.deploy import deploy_folder, folder_files, guess_sdk
from tests.running_portal import ROOT


def portico(*arguments: Any) -> str:
    out = io.StringIO()
    call_command("portico", *map(str, arguments), stdout=out)
    return out.getvalue().strip()


def test_a_token_is_alone_on_its_line_and_works(ada: User) -> None:
    text = portico("token", "Ada")
    assert text.startswith("hf_") and "\n" not in text
    assert AccessToken.objects.get().role == AccessToken.Role.WRITE
    found = user_for_token(text)
    assert found == ada


def test_a_stage_is_alone_on_its_line(space: Space) -> None:
    assert portico("stage", "ada/demo") == "NO_APP_FILE"
    assert portico("stage", "ADA/Demo") == "NO_APP_FILE"


def test_logs_are_printed_by_kind(space: Space) -> None:
    LogWriter(space.pk, "run", fresh=True).write(b"from the app\n")
    LogWriter(space.pk, "build", fresh=True).write(b"from the build\n")
    assert portico("logs", "ada/demo") == "from the app"
    assert portico("logs", "ada/demo", "--build") == "from the build"


def test_a_space_is_paused_restarted_and_deleted(space: Space) -> None:
    portico("pause", "ada/demo")
    assert portico("stage", "ada/demo") == "PAUSED"
    portico("restart", "ada/demo")
    space.refresh_from_db()
    assert space.paused_at is None
    portico("delete", "ada/demo")
    assert not Space.objects.exists()


@pytest.mark.parametrize("verb", ["stage", "sleep", "wake", "pause", "restart", "delete", "logs"])
def test_a_space_that_is_not_there_is_told(verb: str, db: None) -> None:
    with pytest.raises(CommandError, match="There is no Space called ada/nope"):
        portico(verb, "ada/nope")


def test_what_deploying_cannot_do_is_told(ada: User, tmp_path: Path) -> None:
    for arguments, words in (
        ((tmp_path / "nope", "ada/x"), "is not a folder"),
        ((tmp_path, "nobody/x"), "nobody called nobody"),
        ((tmp_path, "ada/x"), "has no files"),
        ((tmp_path, "ada/a--b"), "name"),
    ):
        with pytest.raises(CommandError, match=words):
            portico("deploy", *arguments)


def test_a_deployment_that_nobody_builds_ends_with_its_stage(ada: User, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import gradio")
    with pytest.raises(CommandError, match="Still BUILDING after") as refused:
        portico("deploy", tmp_path, "ada/x", "--timeout", "0.3")
    assert refused.value.returncode == 1


def test_a_folder_is_mirrored_in_one_commit_each(space: Space, tmp_path: Path) -> None:
    for path in ("app.py", "data/x.csv", ".git/config", "__pycache__/x.pyc", "node_modules/x.js"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert set(folder_files(tmp_path)) == {"app.py", "data/x.csv"}
    deploy_folder(space, tmp_path)
    (tmp_path / "data/x.csv").unlink()
    deploy_folder(space, tmp_path)
    names = {e.path for e in store.tree(space.repository, "main", recursive=True) if e.kind == "file"}
    assert names == {"app.py", "README.md"}
    assert len(store.log(space.repository)) == 2


@pytest.mark.parametrize(
    ("files", "sdk"),
    [
        ({"app.py": "import gradio as gr"}, SDK.GRADIO), ({"app.py": "import streamlit as st"}, SDK.STREAMLIT),
        ({"app.py": "import http.server"}, SDK.PYTHON), ({"index.html": "<p>"}, SDK.STATIC),
        ({"notes.txt": ""}, SDK.GRADIO),
    ],
)  # fmt: skip
def test_a_folder_without_front_matter_tells_its_sdk(files: dict[str, str], sdk: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert guess_sdk(tmp_path) == sdk


def test_status_says_what_is_missing_and_fails(db: None) -> None:
    out = io.StringIO()
    with pytest.raises(CommandError, match="missing"):
        call_command("portico", "status", "--json", stdout=out)
    checks = {check["name"]: check["ok"] for check in json.loads(out.getvalue())["checks"]}
    assert checks["database"] and checks["disk"]
    assert not checks["agent"]
    text = io.StringIO()
    with pytest.raises(CommandError):
        call_command("portico", "status", stdout=text)
    assert any(line.startswith("NO  agent") for line in text.getvalue().splitlines())


def test_status_before_the_first_run_says_what_the_machine_can_do(tmp_path: Path) -> None:
    environment = {**os.environ, "PORTICO_DATA": str(tmp_path), "DATABASE_URL": ""}
    command = [sys.executable, "manage.py", "portico", "status"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(r"^NO +database +no such table", done.stdout, re.M), done.stdout
    assert re.search(r"^(ok|NO) +sandbox ", done.stdout, re.M)
    assert "Traceback" not in done.stderr


def test_sleep_and_wake_without_an_agent_are_told(space: Space) -> None:
    space.stage = Stage.RUNNING
    space.save()
    for verb in ("sleep", "wake"):
        with pytest.raises(CommandError, match="The agent does not answer"):
            portico(verb, "ada/demo")


def test_static_files_of_another_release_are_not_kept_for_being_younger(settings: LazySettings, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path
    stale = tmp_path / "js" / "copy.js"
    stale.parent.mkdir()
    stale.write_text("stale")
    supervisor._collect_static()
    assert stale.read_text() == (ROOT / "static" / "js" / "copy.js").read_text()
