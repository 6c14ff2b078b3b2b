"""Front matter: read as the Hub does, and wrong lines named."""

from __future__ import annotations

import pytest
from huggingface_hub import SpaceCard
from hypothesis import given
from hypothesis import strategies as st

from apps.spaces import card
from apps.spaces.card import CardError, parse, render

FULL = """\
---
title: My Demo
emoji: 🚀
colorFrom: red
colorTo: blue
sdk: gradio
sdk_version: 6.31.0
python_version: 3.10
app_file: src/app.py
startup_duration_timeout: 1h
custom_headers:
  cross-origin-embedder-policy: require-corp
something_new: [1, 2]
---

# Hello
"""


def test_the_hubs_keys_are_read() -> None:
    read = parse(FULL)
    assert (read.title, read.sdk, read.sdk_version, read.app_file) == ("My Demo", "gradio", "6.31.0", "src/app.py")
    assert read.startup_duration_timeout == 3600


def test_a_python_version_is_text_although_yaml_takes_it_for_a_number() -> None:
    assert parse(FULL).python_version == "3.10"


def test_what_is_not_known_is_kept_when_written_back() -> None:
    assert parse(render(parse(FULL), "# Hi\n")).model_extra == {"something_new": [1, 2]}


def test_the_official_library_reads_what_is_written() -> None:
    text = render(card.starter("my-demo", "gradio", sdk_version="6.31.0", app_file="app.py"), "# Hi\n")
    data = SpaceCard(text).data
    assert (data.title, data.sdk, data.sdk_version, data.app_file) == ("My Demo", "gradio", "6.31.0", "app.py")


def test_a_readme_without_front_matter_is_an_empty_card() -> None:
    assert parse("# Just text\n\n---\n") == card.Card()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("---\ntitle: a\nsdk: docker\n---\n", 3, "Docker"),
        ("---\ntitle: a\nsdk: rails\n---\n", 3, "rails"),
        ("---\na: 1\nb: [1, 2\n---\n", 3, ""),
        ("---\ntitle: x: y\n---\n", 2, ""),
        ("---\ntitle: a\n\ntitle: b\n---\n", 4, "second time"),
        ("---\ntitle: a\n", 1, "never closed"),
        ("---\n- a\n---\n", 2, "key: value"),
        ("---\napp_port: 70000\n---\n", 2, "app_port"),
        ("---\ntitle: a\napp_file: ../../etc/passwd\n---\n", 3, "app_file"),
        ("---\ncolorFrom: mauve\n---\n", 2, "red"),
        ("---\ncustom_headers:\n  Set-Cookie: a\n---\n", 2, "cross-origin"),
        ("---\ncustom_headers:\n  cross-origin-opener-policy: \"a\\r\\nX: y\"\n---\n", 2, "may be"),
        ("---\nsdk_version: ==6\n---\n", 2, "version"),
        ("---\nbase_path: //evil.example\n---\n", 2, "base path"),
        ("---\npinned: perhaps\n---\n", 2, "pinned"),
        ("---\ntitle: " + "x" * 300 + "\n---\n", 2, "200"),
        ("---\nx: !!python/object/apply:os.system [id]\n---\n", 2, ""),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(CardError) as caught:
        parse(text)
    assert caught.value.line == line
    assert words in str(caught.value)


def test_a_yaml_bomb_costs_nothing() -> None:
    bomb = "---\na: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(8)
    )
    with pytest.raises(CardError, match="aliases"):
        parse(bomb + "---\n")
    with pytest.raises(CardError, match="deep"):
        parse("---\na: " + "[" * 10_000 + "]" * 10_000 + "\n---\n")
    with pytest.raises(CardError, match="larger"):
        parse("---\n" + "a: b\n" * 50_000 + "---\n")


@given(st.text(max_size=200))
def test_any_text_is_a_card_or_a_told_mistake(text: str) -> None:
    try:
        parse(f"---\n{text}\n---\n")
    except CardError as error:
        assert error.line >= 1
