"""Commits and the Space's row that follows them."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from pytest_django import DjangoCaptureOnCommitCallbacks

from apps.accounts.models import User
from apps.builds.models import Build
from apps.repos import store
from apps.repos.store import Add
from apps.spaces import commits, services
from apps.spaces.commits import commit_files, readme
from apps.spaces.models import Space, Stage

README = b"---\ntitle: Waves\nemoji: \xf0\x9f\x8c\x8a\nsdk: streamlit\ncolorFrom: red\n---\n"


def test_the_row_follows_the_front_matter(space: Space, ada: User) -> None:
    revision = commit_files(space, [Add("README.md", README)], user=ada, message="Add README")
    space.refresh_from_db()
    assert (space.head, space.title, space.emoji, space.sdk) == (revision, "Waves", "🌊", "streamlit")
    assert readme(space) == README.decode()


def test_a_commit_queues_one_build_of_its_revision(space: Space, ada: User) -> None:
    revision = commit_files(space, [Add("app.py", b"")], user=ada, message="One")
    build = Build.objects.get()
    assert (build.revision, build.state) == (revision, Build.State.QUEUED)
    space.refresh_from_db()
    assert space.stage == Stage.BUILDING


def test_a_second_commit_supersedes_the_build_that_has_not_begun(space: Space, ada: User) -> None:
    commit_files(space, [Add("app.py", b"1")], user=ada, message="One")
    second = commit_files(space, [Add("app.py", b"2")], user=ada, message="Two")
    states = dict(Build.objects.values_list("revision", "state"))
    assert states.pop(second) == Build.State.QUEUED
    assert list(states.values()) == [Build.State.SUPERSEDED]


def test_a_row_that_follows_late_follows_the_tip(space: Space, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    follow, theirs = commits.follow_head, Space.objects.get(pk=space.pk)

    def late(space: Space, *, user: User | None) -> None:
        monkeypatch.setattr(commits, "follow_head", follow)
        commit_files(theirs, [Add("app.py", b"2")], user=ada, message="Two")
        follow(space, user=user)

    monkeypatch.setattr(commits, "follow_head", late)
    commit_files(space, [Add("app.py", b"1")], user=ada, message="One")
    tip = store.head(space.repository)
    assert [c.title for c in store.log(space.repository)] == ["Two", "One"]
    assert (Space.objects.get(pk=space.pk).head, Build.objects.get().revision) == (tip, tip)


def test_a_commit_that_changes_nothing_builds_nothing(space: Space, ada: User) -> None:
    first = commit_files(space, [Add("app.py", b"1")], user=ada, message="One")
    assert commit_files(space, [Add("app.py", b"1")], user=ada, message="Again") == first
    assert Build.objects.count() == 1


def test_wrong_front_matter_is_committed_all_the_same(space: Space, ada: User) -> None:
    commit_files(space, [Add("README.md", b"---\nsdk: docker\n---\n")], user=ada, message="Oops")
    assert store.read(space.repository, "main", "README.md") == b"---\nsdk: docker\n---\n"
    space.refresh_from_db()
    assert space.sdk == "gradio"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", ".git/config"])
def test_a_path_that_leads_elsewhere_is_told(space: Space, ada: User, path: str) -> None:
    with pytest.raises(ValidationError):
        commit_files(space, [Add(path, b"")], user=ada, message="No")
    assert store.head(space.repository) is None


def test_nothing_to_commit_is_told(space: Space, ada: User) -> None:
    with pytest.raises(ValidationError, match="nothing to commit"):
        commit_files(space, [], user=ada, message="No")


def test_a_withheld_space_takes_no_commit(space: Space, ada: User) -> None:
    services.withhold_space(space, "phishing")
    with pytest.raises(ValidationError, match="taken down"):
        commit_files(space, [Add("app.py", b"")], user=ada, message="No")


def test_a_deleted_space_leaves_no_repository(
    space: Space, ada: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks, settings: object
) -> None:
    from apps.builds.services import delete_files

    commit_files(space, [Add("app.py", b"")], user=ada, message="One")
    folder = store.path(space.repository)
    assert folder.is_dir()
    delete_files(space.pk, str(space.repository), [])
    assert not folder.exists()
