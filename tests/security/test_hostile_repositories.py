"""Trees as only `git push` could bring them: links, names that lead out, and a few bytes that are a million files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pygit2
import pytest
from django.test import Client
from pygit2.enums import FileMode, ObjectType

from apps.accounts.models import User
from apps.builds import services as builds
from apps.builds.models import Build
from apps.gateway import static
from apps.repos import store
from apps.repos.paths import BadPath
from apps.spaces.models import Space, Stage
from apps.spaces.services import create_space

pytestmark = pytest.mark.django_db(transaction=True)

LINKS = {
    "absolute.txt": "/etc/passwd",
    "climbs.txt": "../../../../../../etc/passwd",
    "folder": "/etc",
    "self": "/proc/self",
    "README.md": "/etc/passwd",
    "requirements.txt": "/etc/passwd",
}


@pytest.fixture
def space(settings: Any, tmp_path: Path) -> Space:
    settings.PORTICO_DATA = tmp_path / "data"
    user = User.objects.create_user("mallory", "mallory@example.org", "a-good-long-password")
    return create_space(user.namespace, "demo", user=user, sdk="static")


def tree(repo: pygit2.Repository, entries: list[tuple[bytes, int, pygit2.Oid]]) -> pygit2.Oid:
    """A tree written byte by byte: git's own functions refuse such names."""
    raw = b"".join(b"%o %s\0%s" % (mode, name, oid.raw) for name, mode, oid in entries)
    return repo.write(ObjectType.TREE, raw)


def push(space: Space, root: pygit2.Oid) -> str:
    repo = pygit2.Repository(str(store.path(space.repository)))
    who = pygit2.Signature("mallory", "m@example.org")
    revision = str(repo.create_commit(store.MAIN, who, who, "pushed", root, []))
    Space.objects.filter(pk=space.pk).update(head=revision)
    space.refresh_from_db()
    return revision


@pytest.fixture
def repo(space: Space) -> pygit2.Repository:
    store.create(space.repository)
    return pygit2.Repository(str(store.path(space.repository)))


def push_links(space: Space, repo: pygit2.Repository) -> str:
    index = repo.create_blob(b"<p>hello")
    entries = [(name.encode(), int(FileMode.LINK), repo.create_blob(to.encode())) for name, to in LINKS.items()]
    return push(space, tree(repo, sorted([*entries, (b"index.html", int(FileMode.BLOB), index)])))


def test_links_lead_no_page_and_no_download_out_of_the_repository(
    space: Space, repo: pygit2.Repository, client: Client
) -> None:
    revision = push_links(space, repo)
    client.force_login(User.objects.get(username="mallory"))
    host = Path("/etc/passwd").read_text().splitlines()[0]
    slug = space.slug
    for name in LINKS:
        for path in (f"/spaces/{slug}/blob/main/{name}", f"/spaces/{slug}/resolve/main/{name}"):
            answer = client.get(path)
            body = b"".join(answer) if answer.streaming else answer.content
            assert host not in body.decode(), path
    for below in ("folder/passwd", "self/environ", "folder/../index.html"):
        assert client.get(f"/spaces/{slug}/resolve/{revision}/{below}").status_code == 404, below
    assert host not in client.get(f"/spaces/{slug}").content.decode()


def test_links_reach_neither_the_build_nor_the_static_site(space: Space, repo: pygit2.Repository) -> None:
    push_links(space, repo)
    builds.queue_build(space)
    builds.run_build(Build.objects.get().pk)
    deployment = space.deployments.get()
    folder = builds.settings.PORTICO_DATA / "deployments" / str(deployment.pk)
    assert [p.name for p in folder.rglob("*")] == ["index.html"]


def test_a_link_that_were_there_would_not_be_followed_by_the_static_site(tmp_path: Path) -> None:
    """The second wall: `static` opens what the first has left out."""
    (tmp_path / "site").mkdir()
    for name, to in LINKS.items():
        (tmp_path / "site" / name).symlink_to(to)
        with pytest.raises(FileNotFoundError):
            static.open_file(tmp_path / "site", [name], "index.html")
    with pytest.raises(FileNotFoundError):
        static.open_file(tmp_path / "site", ["folder", "passwd"], "index.html")


def test_links_are_served_only_without_both_walls(
    space: Space, repo: pygit2.Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A builder that writes them, and a server that follows them."""
    former = store._export

    def with_links(tree_: pygit2.Tree, folder: Path, prefix: str, room: Any) -> None:
        former(tree_, folder, prefix, room)
        for item in tree_:
            if isinstance(item, pygit2.Blob) and item.filemode == FileMode.LINK:
                (folder / str(item.name)).symlink_to(item.data.decode())

    def site(name: str) -> Path:
        store.export(space.repository, "main", tmp_path / name)
        return tmp_path / name

    push_links(space, repo)
    secret = Path("/etc/passwd").read_bytes()
    attacks = ["absolute.txt"], ["folder", "passwd"]
    monkeypatch.setattr(static.os, "O_NOFOLLOW", 0)
    for parts in attacks:
        with pytest.raises(FileNotFoundError):
            static.open_file(site("follows" + parts[0]), parts, "index.html")
    monkeypatch.setattr(store, "_export", with_links)
    folder = site("both")
    for parts in attacks:
        found = static.open_file(folder, parts, "index.html")
        with os.fdopen(found.descriptor, "rb") as file:
            assert file.read() == secret


@pytest.mark.parametrize(
    "name", [b"..", b".", b"../../../out", b"/tmp/portico-escaped", b"a/b", b".git", b"x\\y", b"x" * 300]
)
def test_a_name_that_leads_out_is_refused(space: Space, repo: pygit2.Repository, tmp_path: Path, name: bytes) -> None:
    blob = repo.create_blob(b"escaped")
    push(space, tree(repo, [(name, int(FileMode.BLOB), blob)]))
    with pytest.raises((BadPath, store.NotFound)):
        store.export(space.repository, "main", tmp_path / "inner" / "out")
    assert not any(p.is_file() for p in tmp_path.glob("*")), "nothing beside its folder"
    assert not Path("/tmp/portico-escaped").exists()
    builds.queue_build(space)
    builds.run_build(Build.objects.get().pk)
    space.refresh_from_db()
    assert space.stage in (Stage.CONFIG_ERROR, Stage.NO_APP_FILE)


def test_a_tree_of_a_million_files_in_a_few_objects_is_refused(
    space: Space, repo: pygit2.Repository, settings: Any, tmp_path: Path
) -> None:
    settings.PORTICO_MAX_FILES = 500
    oid = tree(repo, [(b"f%d" % n, int(FileMode.BLOB), repo.create_blob(b"x")) for n in range(10)])
    for _ in range(6):
        oid = tree(repo, [(b"d%d" % n, int(FileMode.TREE), oid) for n in range(10)])
    push(space, oid)
    with pytest.raises(store.TooLarge):
        store.export(space.repository, "main", tmp_path / "out")
    assert sum(1 for _ in (tmp_path / "out").rglob("*")) <= 500


def test_a_tree_without_end_in_depth_is_refused(space: Space, repo: pygit2.Repository, tmp_path: Path) -> None:
    oid = tree(repo, [(b"f", int(FileMode.BLOB), repo.create_blob(b"x"))])
    for _ in range(2000):
        oid = tree(repo, [(b"d", int(FileMode.TREE), oid)])
    push(space, oid)
    with pytest.raises(BadPath):
        store.export(space.repository, "main", tmp_path / "out")


def test_a_file_that_is_counted_many_times_is_too_large(
    space: Space, repo: pygit2.Repository, settings: Any, tmp_path: Path
) -> None:
    settings.PORTICO_MAX_REPO_BYTES = 1024**2
    blob = repo.create_blob(bytes(300_000))
    push(space, tree(repo, [(b"f%d" % n, int(FileMode.BLOB), blob) for n in range(8)]))
    with pytest.raises(store.TooLarge):
        store.export(space.repository, "main", tmp_path / "out")
