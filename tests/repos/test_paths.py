"""What may be a path in a repository."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.repos.paths import BadPath, clean_path


@pytest.mark.parametrize("path", ["app.py", "a/b/c.txt", "with space.txt", "ünïcode/日本.md", ".gitignore", "a.git"])
def test_an_ordinary_path_stays_as_it_is(path: str) -> None:
    assert clean_path(path) == path


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "a\\b", "C:\\x", "a\0b", "a\nb", ".git/config",
     "x/.GIT/hooks/post-commit", ".g\u200cit/config", ".git /x", "git~1/x", "a" * 300, "/".join(["a"] * 40), "é" * 700],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(BadPath):
        clean_path(path)


def test_the_same_letters_are_the_same_path() -> None:
    assert clean_path("cafe\u0301.txt") == clean_path("caf\u00e9.txt")


@given(st.text(max_size=60))
def test_whatever_is_accepted_stays_inside(path: str) -> None:
    try:
        cleaned = clean_path(path)
    except BadPath:
        return
    parts = cleaned.split("/")
    assert cleaned and not cleaned.startswith("/")
    assert not {"", ".", "..", ".git"}.intersection(part.lower() for part in parts)
    assert clean_path(cleaned) == cleaned
