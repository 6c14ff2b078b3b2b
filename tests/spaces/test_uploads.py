"""Uploads: whole or not at all, within limits, one commit each."""

from __future__ import annotations

import errno
import io
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connections
from django.utils import timezone

from apps.accounts.models import User
from apps.builds.models import Build
from apps.repos import store
from apps.spaces import card, services, uploads
from apps.spaces.models import Space, Stage, Upload
from apps.spaces.uploads import UploadRefused


@pytest.fixture
def upload(ada: User) -> Upload:
    return uploads.open_upload(ada)


def names(upload: Upload) -> list[str]:
    return [f.path for f in uploads.staged(upload)]


def leftovers(upload: Upload, settings: Any) -> list[Path]:
    return [p for p in (settings.PORTICO_DATA / "uploads" / str(upload.pk)).iterdir() if p.name != "files"]


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_files_are_listed_and_committed_at_once(upload: Upload, space: Space, ada: User) -> None:
    uploads.receive(upload, "app.py", [b"print", b"(1)"])
    uploads.receive(upload, "data/x.csv", [b"1,2"])
    assert names(upload) == ["app.py", "data/x.csv"]
    uploads.commit_upload(upload, space, user=ada, message="Add a demo")
    assert store.read(space.repository, "main", "app.py") == b"print(1)"
    assert [c.title for c in store.log(space.repository)] == ["Add a demo"]
    assert not Upload.objects.exists()


def test_a_first_commit_without_readme_gets_one_as_the_hub_writes_it(upload: Upload, space: Space, ada: User) -> None:
    uploads.receive(upload, "run.py", [b"import gradio"])
    uploads.commit_upload(upload, space, user=ada, message="Add")
    read = card.parse(store.read(space.repository, "main", "README.md").decode())
    assert (read.sdk, read.app_file, read.title) == ("gradio", "run.py", "Demo")
    assert read.emoji and read.colorFrom and read.colorTo and read.sdk_version


def test_a_readme_with_front_matter_is_kept_byte_for_byte(upload: Upload, space: Space, ada: User) -> None:
    given = b"---\r\ntitle:   Mine\r\nsdk: gradio\r\n---\r\nbody"
    uploads.receive(upload, "README.md", [given])
    uploads.receive(upload, "app.py", [b""])
    uploads.commit_upload(upload, space, user=ada, message="Add")
    assert store.read(space.repository, "main", "README.md") == given


def test_a_readme_without_front_matter_gets_it_in_front(upload: Upload, space: Space, ada: User) -> None:
    uploads.receive(upload, "README.md", [b"# Mine\n"])
    uploads.receive(upload, "app.py", [b""])
    uploads.commit_upload(upload, space, user=ada, message="Add")
    text = store.read(space.repository, "main", "README.md").decode()
    assert text.startswith("---\n") and text.endswith("# Mine\n")


def test_an_archive_is_expanded_where_it_was_dropped(upload: Upload) -> None:
    taken = uploads.receive(upload, "sub/a.zip", [zipped({"demo/app.py": b"1", "demo/d/x": b"2"})], expand=True)
    assert sorted(f.path for f in taken) == names(upload) == ["sub/app.py", "sub/d/x"]


def test_a_refused_archive_leaves_what_was_there(upload: Upload, settings: Any) -> None:
    uploads.receive(upload, "app.py", [b"1"])
    with pytest.raises(UploadRefused, match="relative"):
        uploads.receive(upload, "a.zip", [zipped({"ok": b"", "/etc/passwd": b"x"})], expand=True)
    assert names(upload) == ["app.py"]
    assert leftovers(upload, settings) == []


def test_an_upload_that_breaks_off_half_way_leaves_nothing(upload: Upload, settings: Any) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError(errno.ECONNRESET, "gone")

    with pytest.raises(ConnectionResetError):
        uploads.receive(upload, "app.py", broken())
    assert names(upload) == []
    assert leftovers(upload, settings) == []


def test_a_file_over_the_limit_is_refused_while_it_comes(upload: Upload, settings: Any) -> None:
    settings.PORTICO_MAX_FILE_BYTES = 10
    taken: list[int] = []

    def endless() -> Iterator[bytes]:
        for number in range(1000):
            taken.append(number)
            yield b"12345"

    with pytest.raises(UploadRefused, match="10 bytes"):
        uploads.receive(upload, "big", endless())
    assert len(taken) == 3
    assert names(upload) == []


def test_limits_count_the_whole_upload(upload: Upload, settings: Any) -> None:
    settings.PORTICO_MAX_REPO_BYTES = 10
    uploads.receive(upload, "a", [b"123456"])
    with pytest.raises(UploadRefused, match="together"):
        uploads.receive(upload, "b", [b"123456"])
    settings.PORTICO_MAX_FILES = 1
    with pytest.raises(UploadRefused, match="1 files"):
        uploads.receive(upload, "b", [b"1"])


def test_a_full_disk_is_told(upload: Upload) -> None:
    def full() -> Iterator[bytes]:
        yield b"x"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UploadRefused, match="disk is full"):
        uploads.receive(upload, "a", full())


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", ".git/config", "a\\b"])
def test_a_path_that_leads_elsewhere_is_refused(upload: Upload, path: str) -> None:
    with pytest.raises(UploadRefused):
        uploads.receive(upload, path, [b""])


def test_a_file_cannot_be_a_folder_too(upload: Upload) -> None:
    uploads.receive(upload, "a", [b""])
    with pytest.raises(UploadRefused, match="both"):
        uploads.receive(upload, "a/b", [b""])


def test_a_refused_commit_keeps_the_upload(upload: Upload, space: Space, ada: User) -> None:
    uploads.receive(upload, "app.py", [b""])
    services.withhold_space(space, "spam")
    with pytest.raises(ValidationError):
        uploads.commit_upload(upload, space, user=ada, message="Add")
    assert names(upload) == ["app.py"]


def test_two_uploads_are_two_commits(space: Space, ada: User) -> None:
    first, second = uploads.open_upload(ada), uploads.open_upload(ada)
    uploads.receive(first, "one", [b"1"])
    uploads.receive(second, "two", [b"2"])
    uploads.commit_upload(first, space, user=ada, message="One")
    uploads.commit_upload(second, space, user=ada, message="Two")
    assert [c.title for c in store.log(space.repository)] == ["Two", "One"]
    assert {e.path for e in store.tree(space.repository, "main")} >= {"one", "two"}


def at_once(*works: Callable[[], str]) -> list[str]:
    """What each returns, or the words it is refused with; all of them begin together."""
    together = threading.Barrier(len(works))

    def begin(work: Callable[[], str]) -> str:
        try:
            together.wait(30)
            return work()
        except UploadRefused as refused:
            return str(refused)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(begin, works))


@pytest.mark.django_db(transaction=True)
def test_uploads_at_the_same_time_are_a_commit_each_and_the_tip_is_built(ada: User) -> None:
    space = services.create_space(ada.namespace, "demo", user=ada)
    given = {f"{number}.txt": uploads.open_upload(ada) for number in range(4)}
    for name, upload in given.items():
        uploads.receive(upload, name, [name.encode()])

    def committing(name: str, upload: Upload) -> Callable[[], str]:
        mine = Space.objects.get(pk=space.pk)
        return lambda: uploads.commit_upload(upload, mine, user=ada, message=name)

    revisions = at_once(*(committing(name, upload) for name, upload in given.items()))
    commits = store.log(space.repository)
    assert sorted(c.sha for c in commits) == sorted(revisions)
    assert {c.title for c in commits} == set(given)
    assert {e.path for e in store.tree(space.repository, "main")} == {"README.md", *given}
    space.refresh_from_db()
    assert (space.head, space.stage) == (commits[0].sha, Stage.BUILDING)
    queued = Build.objects.filter(space=space, state=Build.State.QUEUED)
    assert [build.revision for build in queued] == [space.head]
    assert not Upload.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_one_upload_committed_twice_at_the_same_time_is_one_commit_and_one_refusal(ada: User) -> None:
    space, upload = services.create_space(ada.namespace, "demo", user=ada), uploads.open_upload(ada)
    for number in range(20):
        uploads.receive(upload, f"{number}", [b"x" * 100_000])
    same = Upload.objects.get(pk=upload.pk)
    told = at_once(*(partial(uploads.commit_upload, u, space, user=ada, message="Add") for u in (upload, same)))
    (only,) = store.log(space.repository)
    told.remove(only.sha)
    assert re.fullmatch("This upload (is being|has been) committed already.*", *told)
    assert Build.objects.count() == 1


def test_a_first_upload_s_readme_stays_when_another_upload_comes_in_between(space: Space, ada: User) -> None:
    given = b"---\ntitle: Mine\nsdk: gradio\n---\n"
    first, second = uploads.open_upload(ada), uploads.open_upload(ada)
    uploads.receive(first, "README.md", [given])
    uploads.receive(second, "data.csv", [b"1"])
    before = Space.objects.get(pk=space.pk)
    uploads.commit_upload(first, space, user=ada, message="One")
    uploads.commit_upload(second, before, user=ada, message="Two")
    assert store.read(space.repository, "main", "README.md") == given


def test_a_file_can_be_taken_out_again(upload: Upload) -> None:
    uploads.receive(upload, "d/e/f", [b""])
    uploads.remove(upload, "d/e/f")
    uploads.remove(upload, "../../keys/secret_key")
    assert names(upload) == []


def test_stale_uploads_are_thrown_away(upload: Upload, ada: User, settings: Any) -> None:
    fresh = uploads.open_upload(ada)
    Upload.objects.filter(pk=upload.pk).update(created_at=timezone.now() - timezone.timedelta(hours=25))
    assert uploads.discard_stale() == 1
    assert list(Upload.objects.all()) == [fresh]
    assert not (settings.PORTICO_DATA / "uploads" / str(upload.pk)).exists()


def test_too_many_open_uploads_are_refused(ada: User) -> None:
    for _ in range(uploads.MAX_OPEN_UPLOADS):
        uploads.open_upload(ada)
    with pytest.raises(UploadRefused, match="too many"):
        uploads.open_upload(ada)


def test_what_is_taken_replaced_and_removed_is_counted(upload: Upload) -> None:
    def counted() -> tuple[int, int]:
        upload.refresh_from_db()
        return upload.files, upload.bytes

    uploads.receive(upload, "a", [b"123"])
    uploads.receive(upload, "b", [b"12345"])
    uploads.receive(upload, "a", [b"1"])
    assert counted() == (2, 6)
    uploads.receive(upload, "x.zip", [zipped({"a": b"1234", "d/c": b"1"})], expand=True)
    assert counted() == (3, 10)
    uploads.remove(upload, "b")
    uploads.remove(upload, "b")
    assert counted() == (2, 5)
    with pytest.raises(UploadRefused):
        uploads.receive(upload, "a/b", [b"x"])
    assert counted() == (2, 5)


def test_taking_a_file_costs_the_same_however_many_there_are(upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[int] = []
    monkeypatch.setattr(uploads, "staged", lambda upload: listed.append(1) or [])
    for number in range(5):
        uploads.receive(upload, f"{number}", [b"x"])
    assert listed == []
