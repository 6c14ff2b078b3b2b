"""Bare git repositories under `PORTICO_DATA/repos/`, written without a work tree.

A repository is known by a UUID and knows no Space. `main` is its only branch that matters here. A commit is built
from blobs and moves `main` by compare-and-swap, so that of two at once each becomes one commit.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from uuid import UUID, uuid4

import pygit2
from django.conf import settings
from pygit2.enums import FileMode, ObjectType, SortMode

from apps.repos.paths import BadPath, clean_path

MAIN = "refs/heads/main"
RETRIES = 5
CHUNK_BYTES = 1024 * 1024


class StoreError(Exception):
    """A change that cannot be made; the message says why, for a person."""


class Conflict(StoreError):
    """Somebody else's commit came in between."""


class NotFound(StoreError):
    """No such repository, revision or path."""


class TooLarge(StoreError):
    """A limit on sizes or counts would be passed."""


@dataclass(frozen=True)
class Add:
    """Write a file, new or not. `source` is its bytes or a file that holds them; `if_absent` spares what main has."""

    path: str
    source: Path | bytes
    if_absent: bool = False


@dataclass(frozen=True)
class Delete:
    """Remove a file, or a folder whole."""

    path: str


Operation = Add | Delete


@dataclass(frozen=True)
class Entry:
    """A file or folder of a tree. `size` is in bytes, 0 for folders; `oid` is git's object id."""

    path: str
    kind: Literal["file", "folder"]
    size: int
    oid: str

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Commit:
    sha: str
    message: str
    author: str
    at: datetime

    @property
    def title(self) -> str:
        return self.message.split("\n", 1)[0]


def path(repository: UUID) -> Path:
    """Where the bare repository lies."""
    return settings.PORTICO_DATA / "repos" / repository.hex[:2] / f"{repository}.git"


def create(repository: UUID) -> None:
    """Make an empty repository; nothing happens when it is there."""
    place = path(repository)
    if (place / "HEAD").exists():
        return
    aside = place.with_name(f"{uuid4()}.new")
    pygit2.init_repository(str(aside), bare=True, initial_head="main")
    try:
        aside.rename(place)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        if not (place / "HEAD").exists():
            raise


def delete(repository: UUID) -> None:
    """Delete it for good; nothing happens when it is not there."""
    shutil.rmtree(path(repository), ignore_errors=True)


def head(repository: UUID) -> str | None:
    """The revision at the tip of main, None while there is none."""
    try:
        return str(_open(repository).references[MAIN].target)
    except (KeyError, NotFound):
        return None


def commit(
    repository: UUID,
    operations: Sequence[Operation],
    *,
    message: str,
    author_name: str,
    author_email: str,
    parent: str | None = None,
) -> str:
    """Apply `operations` in order to main, as one commit, and return its revision.

    Args:
        parent: the revision that must be main's tip. Without it the operations apply to whatever the tip is. A
            change that changes nothing returns the tip and makes no commit.

    Raises:
        Conflict: `parent` is not the tip (any more).
        NotFound: a `Delete` of what is not there.
        TooLarge: a limit of the settings would be passed.
        StoreError: a file would stand where a folder is, or the other way round.
        apps.repos.paths.BadPath: a path is not one.
    """
    create(repository)
    repo = _open(repository)
    # Makes libgit2 fsync objects and references: an acknowledged commit outlives a crash.
    pygit2.option(pygit2.enums.Option.ENABLE_FSYNC_GITDIR, True)
    blobs = [(op, clean_path(op.path), _blob(repo, op) if isinstance(op, Add) else None) for op in operations]
    signature = pygit2.Signature(_plain(author_name) or "someone", _plain(author_email) or "someone@localhost")
    with _writing(repo):
        for _ in range(RETRIES):
            tip = head(repository)
            if parent is not None and tip != parent:
                raise Conflict("Somebody committed in between. Look at the newest revision and try again.")
            tree = _apply(repo, tip, [(path_, oid) for op, path_, oid in blobs if not _is_spared(repo, tip, op, path_)])
            if tip is not None and repo[tip].peel(pygit2.Commit).tree_id == tree:
                return tip
            try:
                # Refuses unless main still is the first parent: a `git push` does not take our lock.
                return str(repo.create_commit(MAIN, signature, signature, message, tree, [tip] if tip else []))
            except pygit2.GitError:
                if head(repository) == tip:
                    raise
    raise Conflict("Too many commits at once. Try again.")


@contextmanager
def _writing(repo: pygit2.Repository) -> Iterator[None]:
    """One of our own writers at a time."""
    with (Path(repo.path) / "portico.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _blob(repo: pygit2.Repository, operation: Add) -> pygit2.Oid:
    size = len(operation.source) if isinstance(operation.source, bytes) else operation.source.stat().st_size
    if size > settings.PORTICO_MAX_FILE_BYTES:
        raise TooLarge(f"{operation.path} has {size:,} bytes; a file may have {settings.PORTICO_MAX_FILE_BYTES:,}.")
    if isinstance(operation.source, bytes):
        return repo.create_blob(operation.source)
    return repo.create_blob_fromdisk(str(operation.source))


def _is_spared(repo: pygit2.Repository, tip: str | None, operation: Operation, path_: str) -> bool:
    if tip is None or isinstance(operation, Delete) or not operation.if_absent:
        return False
    return path_ in repo[tip].peel(pygit2.Tree)


def _apply(repo: pygit2.Repository, tip: str | None, changes: list[tuple[str, pygit2.Oid | None]]) -> pygit2.Oid:
    index = pygit2.Index()
    if tip is not None:
        index.read_tree(repo[tip].peel(pygit2.Tree))
    for path_, blob in changes:
        if blob is None:
            _remove(index, path_)
        else:
            _check_no_clash(index, path_)
            index.add(pygit2.IndexEntry(path_, blob, FileMode.BLOB))
    entries = list(index)
    if len(entries) > settings.PORTICO_MAX_FILES:
        raise TooLarge(f"A Space may have {settings.PORTICO_MAX_FILES:,} files; this would make {len(entries):,}.")
    if sum(_size(repo, e.id) for e in entries) > settings.PORTICO_MAX_REPO_BYTES:
        raise TooLarge(f"A Space's files may have {settings.PORTICO_MAX_REPO_BYTES:,} bytes together.")
    return index.write_tree(repo)


def _remove(index: pygit2.Index, path_: str) -> None:
    if path_ in index:
        index.remove(path_)
        return
    below = [e.path for e in index if e.path.startswith(f"{path_}/")]
    if not below:
        raise NotFound(f"{path_} is not there.")
    for name in below:
        index.remove(name)


def _check_no_clash(index: pygit2.Index, path_: str) -> None:
    """libgit2 would silently drop what stands in the way."""
    parts = path_.split("/")
    for depth in range(1, len(parts)):
        if "/".join(parts[:depth]) in index:
            raise StoreError(f"{path_} cannot be written: {'/'.join(parts[:depth])} is a file.")
    if path_ not in index and any(e.path.startswith(f"{path_}/") for e in index):
        raise StoreError(f"{path_} cannot be written: it is a folder.")


def tree(repository: UUID, revision: str, folder: str = "", recursive: bool = False) -> list[Entry]:
    """The entries of `folder` (the root when empty): folders first, then files, by name.

    Raises:
        NotFound: no such revision or folder.
    """
    repo = _open(repository)
    root: pygit2.Object = _commit(repo, revision).tree
    if folder:
        root = _entry(root, clean_path(folder))
        if not isinstance(root, pygit2.Tree):
            raise NotFound(f"{folder} is not a folder.")
    entries = list(_walk(repo, root, f"{folder}/" if folder else "", recursive))
    return sorted(entries, key=lambda e: (e.kind == "file", e.path))


def _walk(repo: pygit2.Repository, root: pygit2.Object, prefix: str, recursive: bool) -> Iterator[Entry]:
    assert isinstance(root, pygit2.Tree)
    for item in root:
        name = f"{prefix}{item.name}"
        if isinstance(item, pygit2.Tree):
            yield Entry(name, "folder", 0, str(item.id))
            if recursive:
                yield from _walk(repo, item, f"{name}/", recursive)
        elif isinstance(item, pygit2.Blob):
            yield Entry(name, "file", item.size, str(item.id))


def read(repository: UUID, revision: str, path: str, limit: int | None = None) -> bytes:
    """The file's bytes, the first `limit` of them when given.

    Raises:
        NotFound: no such revision or file.
    """
    return _file(repository, revision, path).data[:limit]


def chunks(repository: UUID, revision: str, path: str) -> tuple[int, Iterator[bytes]]:
    """The file's size and its bytes, piece by piece, in constant memory.

    Raises:
        NotFound: no such revision or file.
    """
    blob = _file(repository, revision, path)

    def pieces() -> Iterator[bytes]:
        with pygit2.BlobIO(blob) as stream:
            while piece := stream.read(CHUNK_BYTES):
                yield piece

    return blob.size, pieces()


def log(repository: UUID, revision: str = "main", limit: int = 50, offset: int = 0) -> list[Commit]:
    """Commits from `revision` backwards, newest first; none for a repository without commits.

    Raises:
        NotFound: no such revision.
    """
    repo = _open(repository)
    if revision == "main" and MAIN not in repo.references:
        return []
    found: list[Commit] = []
    for number, c in enumerate(repo.walk(_commit(repo, revision).id, SortMode.TOPOLOGICAL)):
        if number >= offset + limit:
            break
        if number >= offset:
            at = datetime.fromtimestamp(c.commit_time, UTC)
            found.append(Commit(str(c.id), c.message.strip(), c.author.name, at))
    return found


def export(repository: UUID, revision: str, folder: Path) -> None:
    """Write the revision's files below `folder`, which must not exist. Links and submodules in it are left out:
    neither may lead a demo's builder or server anywhere else. Nor is a name believed to be one, or a tree to be small,
    because git holds it: `git push` brings trees that nothing here has made.

    Raises:
        NotFound: no such revision.
        TooLarge: more files or bytes than a Space may have; a tree that holds itself ten times over is one of millions.
        apps.repos.paths.BadPath: a name leads out of its folder, or lies too deep.
    """
    repo = _open(repository)
    _export(_commit(repo, revision).tree, folder, "", _Room())


@dataclass
class _Room:
    """How much may still be written."""

    files: int = field(default_factory=lambda: settings.PORTICO_MAX_FILES)
    bytes: int = field(default_factory=lambda: settings.PORTICO_MAX_REPO_BYTES)

    def take(self, size: int) -> None:
        self.files -= 1
        self.bytes -= size
        if self.files < 0:
            raise TooLarge(f"A Space may have {settings.PORTICO_MAX_FILES:,} files; this revision has more.")
        if self.bytes < 0:
            raise TooLarge(f"A Space's files may have {settings.PORTICO_MAX_REPO_BYTES:,} bytes together.")


def _export(tree_: pygit2.Tree, folder: Path, prefix: str, room: _Room) -> None:
    folder.mkdir(parents=True)
    for item in tree_:
        assert item.name is not None
        path_ = f"{prefix}{item.name}"
        clean_path(path_)
        if "/" in item.name:
            raise BadPath(f"“{path_[:80]}” has a “/” within a name.")
        target = folder / item.name
        if isinstance(item, pygit2.Tree):
            room.take(0)  # folders cost too
            _export(item, target, f"{path_}/", room)
        elif isinstance(item, pygit2.Blob) and item.filemode in (FileMode.BLOB, FileMode.BLOB_EXECUTABLE):
            room.take(item.size)
            with target.open("xb") as out, pygit2.BlobIO(item) as stream:
                shutil.copyfileobj(stream, out, CHUNK_BYTES)
            if item.filemode == FileMode.BLOB_EXECUTABLE:
                target.chmod(0o755)


def resolve(repository: UUID, revision: str) -> str:
    """The full revision that `revision` (main, or 4 to 40 hex digits) means.

    Raises:
        NotFound: none.
    """
    return str(_commit(_open(repository), revision).id)


def _open(repository: UUID) -> pygit2.Repository:
    try:
        return pygit2.Repository(str(path(repository)), pygit2.enums.RepositoryOpenFlag.NO_SEARCH)
    except pygit2.GitError as error:
        raise NotFound("There is nothing in this repository yet.") from error


def _commit(repo: pygit2.Repository, revision: str) -> pygit2.Commit:
    name = MAIN if revision in {"main", "HEAD"} else revision
    if name == revision and not (4 <= len(name) <= 40 and all(c in "0123456789abcdef" for c in name)):
        raise NotFound(f"There is no revision {revision[:60]}.")
    try:
        found = repo.revparse_single(name).peel(ObjectType.COMMIT)
    except (KeyError, ValueError, pygit2.GitError) as error:
        raise NotFound(f"There is no revision {revision[:60]}.") from error
    assert isinstance(found, pygit2.Commit)
    return found


def _entry(root: pygit2.Object, path_: str) -> pygit2.Object:
    assert isinstance(root, pygit2.Tree)
    try:
        return root[path_]
    except KeyError:
        raise NotFound(f"{path_} is not there.") from None


def _file(repository: UUID, revision: str, path: str) -> pygit2.Blob:
    found = _entry(_commit(_open(repository), revision).tree, clean_path(path))
    if not isinstance(found, pygit2.Blob):
        raise NotFound(f"{path} is not a file.")
    return found


def _size(repo: pygit2.Repository, oid: pygit2.Oid) -> int:
    blob = repo.get(oid)
    return blob.size if isinstance(blob, pygit2.Blob) else 0


def _plain(text: str) -> str:
    """git's signatures cannot hold these."""
    return "".join(c for c in text if c not in "<>\n\0").strip()
