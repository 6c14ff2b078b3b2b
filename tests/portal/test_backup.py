"""A backup read back into an empty portal is the portal. Run as an operator does, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.running_portal import ROOT

pytestmark = pytest.mark.integration

FILL = """
from apps.accounts.models import User
from apps.accounts.tokens import create_token
from apps.moderation.models import AuditEntry
from apps.moderation.services import act, report_space
from apps.repos.store import Add
from apps.runtime.models import Storage
from apps.spaces import services
from apps.spaces.commits import commit_files
from apps.spaces.models import Plan
from apps.spaces.plans import choose_plan, make_default
from apps.spaces.variables import set_variable
ada = User.objects.create_user("ada", "ada@example.org", "a-good-long-password")
space = services.create_space(ada.namespace, "demo", user=ada)
commit_files(space, [Add("app.py", b"print(1)")], user=ada, message="First")
set_variable(space, "TOKEN", "hunter2", secret=True)
big = Plan.objects.create(slug="big", name="Big", storage_bytes=2**30)
choose_plan(space, "big")
make_default(Plan.objects.create(slug="small", name="Small", memory_bytes=2**29))
Storage.objects.create(name=space.repository, space=space, node="local", used_bytes=3 * 2**20)
root = User.objects.create_superuser("root", "root@example.org", "a-good-long-password")
act(report_space(space, reporter=None, category="spam", text="look"), "dismiss", moderator=root, reason="fine")
print(create_token(ada, "laptop", "write")[1])
"""
LOOK = """
import json, sys
from apps.accounts.models import User
from apps.accounts.tokens import user_for_token
from apps.builds.models import Build
from apps.moderation.models import AuditEntry
from apps.repos import store
from apps.spaces import encryption
from apps.spaces.models import Space
from apps.spaces.plans import default_plan
space = Space.objects.get()
print(json.dumps({
    "file": store.read(space.repository, "main", "app.py").decode(),
    "commits": [c.title for c in store.log(space.repository)],
    "secret": encryption.decrypt(space.variables.get().secret),
    "token": getattr(user_for_token(TOKEN), "username", None),
    "password": User.objects.get(username="ada").check_password("a-good-long-password"),
    "audit": [entry.reason for entry in AuditEntry.objects.all()],
    "queued": Build.objects.filter(space=space).count(),
    "new": User.objects.create_user("new", "new@example.org", "a-good-long-password").pk,
    "people": User.objects.count(),
    "plans": [space.plan_id, default_plan().slug, space.storage.name == space.repository],
}))
"""


def manage(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL"}}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env={**environment, "PORTICO_DATA": str(data)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A data folder, its backup, and a token that is valid in it."""
    folder = tmp_path_factory.mktemp("backup")
    data, archive = folder / "data", folder / "portal.tar.gz"
    assert manage(data, "migrate", "-v", "0").returncode == 0
    for name in ("messages", "control", "processed"):
        (data / "queue" / name).mkdir(parents=True)
    filled = manage(data, "shell", "-v", "0", "-c", FILL)
    assert filled.returncode == 0, filled.stderr
    done = manage(data, "portico", "backup", str(archive))
    assert done.returncode == 0, done.stderr
    assert "Not in it: what 1 Spaces keep at /data, 3 MiB." in done.stdout
    return data, archive, filled.stdout.split()[-1]


def test_everything_that_cannot_be_made_again_comes_back(backed_up: tuple[Path, Path, str], tmp_path: Path) -> None:
    _, archive, token = backed_up
    data = tmp_path / "data"
    for name in ("messages", "control", "processed"):
        (data / "queue" / name).mkdir(parents=True)
    done = manage(data, "portico", "restore", str(archive))
    assert (done.returncode, "Restored 1 Spaces" in done.stdout) == (0, True), done.stderr
    looked = manage(data, "shell", "-v", "0", "-c", f"TOKEN = {token!r}\n{LOOK}")
    found: dict[str, Any] = json.loads(looked.stdout or f'"{looked.stderr}"')
    assert found == {
        "file": "print(1)", "commits": ["First"], "secret": "hunter2", "token": "ada", "password": True,
        "audit": ["fine"], "queued": 1, "new": 3, "people": 3,
        "plans": ["big", "small", True],
    }  # fmt: skip
    assert "already has people" in manage(data, "portico", "restore", str(archive)).stderr


def test_the_archive_is_for_its_owner_alone(backed_up: tuple[Path, Path, str]) -> None:
    archive = backed_up[1]
    assert archive.stat().st_mode & 0o777 == 0o600
    assert not list(archive.parent.glob("*.part"))
    with tarfile.open(archive) as tar:
        assert {name.split("/")[0] for name in tar.getnames()} == {"manifest.json", "database.json", "repos", "keys"}


@pytest.mark.parametrize("kind", ["text", "version", "missing"])
def test_what_is_no_backup_is_told_and_changes_nothing(kind: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.tar.gz"
    if kind == "text":
        wrong.write_text("not an archive")
    elif kind == "version":
        (tmp_path / "manifest.json").write_text('{"format": 99}')
        with tarfile.open(wrong, "w:gz") as tar:
            tar.add(tmp_path / "manifest.json", arcname="manifest.json")
    done = manage(tmp_path / "data", "portico", "restore", str(wrong))
    assert done.returncode == 1
    assert ("another version" if kind == "version" else "cannot be restored") in done.stderr
    assert "Traceback" not in done.stderr
