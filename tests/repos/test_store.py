"""The git store, checked with git itself."""

from __future__ import annotations

import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pygit2
import pytest

from apps.repos import store
from apps.repos.store import Add, Delete


def git(repository: uuid.UUID, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(store.path(repository)), *arguments], check=True, capture_output=True, text=True
    ).stdout


def commit(repository: uuid.UUID, *operations: store.Operation, **options: Any) -> str:
    return store.commit(
        repository, operations, message="Change", author_name="Ada", author_email="ada@example.org", **options
    )


@pytest.fixture
def repository() -> uuid.UUID:
    return uuid.uuid4()


def test_git_itself_reads_what_was_committed(repository: uuid.UUID, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"from a file")
    revision = commit(repository, Add("a/b.txt", b"text"), Add("c.bin", source))
    assert git(repository, "fsck", "--strict") == ""
    assert git(repository, "rev-parse", "main").strip() == revision == store.head(repository)
    assert git(repository, "log", "-1", "--format=%an <%ae> %s", "main").strip() == "Ada <ada@example.org> Change"
    subprocess.run(["git", "clone", "-q", str(store.path(repository)), str(tmp_path / "clone")], check=True)
    assert (tmp_path / "clone" / "a" / "b.txt").read_text() == "text"
    assert (tmp_path / "clone" / "c.bin").read_bytes() == b"from a file"


def test_sixteen_commits_at_once_are_sixteen_commits(repository: uuid.UUID) -> None:
    with ThreadPoolExecutor(8) as pool:
        revisions = list(pool.map(lambda n: commit(repository, Add(f"{n}.txt", b"%d" % n)), range(16)))
    assert len(set(revisions)) == 16
    assert len(store.log(repository)) == 16
    assert len(store.tree(repository, "main")) == 16


def test_a_commit_on_an_older_revision_is_a_conflict_and_changes_nothing(repository: uuid.UUID) -> None:
    first = commit(repository, Add("a", b"1"))
    second = commit(repository, Add("a", b"2"), parent=first)
    with pytest.raises(store.Conflict):
        commit(repository, Add("a", b"3"), parent=first)
    assert store.head(repository) == second


def test_a_commit_of_nothing_new_is_the_tip(repository: uuid.UUID) -> None:
    tip = commit(repository, Add("a", b"1"))
    assert commit(repository, Add("a", b"1")) == tip
    assert len(store.log(repository)) == 1


def test_a_folder_is_deleted_whole(repository: uuid.UUID) -> None:
    commit(repository, Add("keep", b""), Add("d/one", b""), Add("d/e/two", b""))
    commit(repository, Delete("d"))
    assert [e.path for e in store.tree(repository, "main", recursive=True)] == ["keep"]


def test_deleting_what_is_not_there_says_so(repository: uuid.UUID) -> None:
    commit(repository, Add("a", b""))
    with pytest.raises(store.NotFound, match="b is not there"):
        commit(repository, Delete("b"))


@pytest.mark.parametrize("operations", [[Add("a/b", b"")], [Add("d", b"")]])
def test_a_file_cannot_stand_where_a_folder_is(repository: uuid.UUID, operations: list[store.Operation]) -> None:
    commit(repository, Add("a", b""), Add("d/e", b""))
    with pytest.raises(store.StoreError, match="cannot be written"):
        commit(repository, *operations)


def test_limits_hold_and_leave_the_tip(repository: uuid.UUID, settings: Any) -> None:
    tip = commit(repository, Add("a", b"12345"))
    settings.PORTICO_MAX_FILE_BYTES = 10
    with pytest.raises(store.TooLarge, match="11 bytes"):
        commit(repository, Add("b", b"x" * 11))
    settings.PORTICO_MAX_REPO_BYTES = 12
    with pytest.raises(store.TooLarge, match="together"):
        commit(repository, Add("b", b"x" * 8))
    settings.PORTICO_MAX_FILES = 1
    with pytest.raises(store.TooLarge, match="1 files"):
        commit(repository, Add("b", b""))
    assert store.head(repository) == tip


def test_an_export_has_the_files_and_no_links(repository: uuid.UUID, tmp_path: Path) -> None:
    commit(repository, Add("app.py", b"print(1)"), Add("data/x", b"y"))
    repo = pygit2.Repository(str(store.path(repository)))
    index = pygit2.Index()
    index.read_tree(repo.head.peel(pygit2.Tree))
    index.add(pygit2.IndexEntry("leak", repo.create_blob(b"/etc/passwd"), pygit2.enums.FileMode.LINK))
    signature = pygit2.Signature("Eve", "eve@example.org")
    repo.create_commit("HEAD", signature, signature, "link", index.write_tree(repo), [repo.head.target])
    store.export(repository, "main", tmp_path / "out")
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*")) == [
        "app.py", "data", "data/x",
    ]  # fmt: skip


@pytest.mark.parametrize("revision", ["nope", "0000", "main~1", "--help", "HEAD:app.py", "refs/heads/main"])
def test_a_revision_that_is_none_is_not_found(repository: uuid.UUID, revision: str) -> None:
    commit(repository, Add("app.py", b""))
    with pytest.raises(store.NotFound):
        store.tree(repository, revision)


def test_a_file_is_read_whole_in_part_and_in_pieces(repository: uuid.UUID) -> None:
    commit(repository, Add("a", b"0123456789"))
    assert store.read(repository, "main", "a") == b"0123456789"
    assert store.read(repository, "main", "a", limit=4) == b"0123"
    size, pieces = store.chunks(repository, "main", "a")
    assert (size, b"".join(pieces)) == (10, b"0123456789")


def test_an_empty_repository_has_no_log_and_no_head(repository: uuid.UUID) -> None:
    store.create(repository)
    assert (store.head(repository), store.log(repository)) == (None, [])
    with pytest.raises(store.NotFound):
        store.tree(repository, "main")


def test_a_repository_made_by_many_at_once_is_one() -> None:
    for _ in range(20):
        repository = uuid.uuid4()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _, own=repository: store.create(own), range(8)))
        assert not list(store.path(repository).parent.glob("*.new"))
        assert store.head(repository) is None
