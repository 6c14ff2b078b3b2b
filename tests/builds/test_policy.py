"""requirements.txt: names of packages, and nothing that makes the installer do something else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.builds.policy import RequirementRefused, parse_requirements


def test_names_versions_extras_and_markers_are_read() -> None:
    text = b"# comment\nnumpy>=2 # inline\n\nhttpx[http2]==0.28.1 ; python_version > '3.8'\nuvicorn \\\n  >=0.3\n"
    read = parse_requirements(text)
    assert read.lines == ("numpy>=2", 'httpx[http2]==0.28.1; python_version > "3.8"', "uvicorn>=0.3")
    assert read.names == {"numpy", "httpx", "uvicorn"}
    assert read.pins("numpy") and not read.pins("gradio")


def test_an_empty_file_asks_for_nothing() -> None:
    assert parse_requirements(b"").lines == ()


@pytest.mark.parametrize(
    "line",
    [
        "https://evil.example/x.whl", "git+https://github.com/a/b", "git+ssh://git@h/x.git", "./local", "../up",
        "/etc/passwd", "file:///etc/passwd", "C:\\x\\y.whl", "x.whl", "pkg.tar.gz", "name @ https://h/x.whl",
        "name @ file:///x", "-e .", "-r /etc/passwd", "-r ../other.txt", "--index-url https://evil.example",
        "--extra-index-url=https://evil.example", "--find-links .", "--config-settings x=y", "not a requirement !!",
        "${HOME}/x", "x" * 5000 + "!",
    ],
)  # fmt: skip
def test_what_is_no_package_name_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(RequirementRefused, match=r"requirements\.txt, line 2: "):
        parse_requirements(f"numpy\n{line}\n".encode())


def test_addresses_are_taken_where_the_operator_allows_them(settings: Any) -> None:
    settings.PORTICO_ALLOW_URL_REQUIREMENTS = True
    assert parse_requirements(b"demo @ https://host.example/demo-1.0-py3-none-any.whl").names == {"demo"}
    with pytest.raises(RequirementRefused):
        parse_requirements(b"demo @ file:///etc/passwd")


@pytest.mark.parametrize("data", [b"a\n" * 2000, b"x" * 100_000, b"caf\xe9\n"])
def test_a_file_that_is_too_much_or_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(RequirementRefused):
        parse_requirements(data)


@given(st.text(max_size=200))
def test_no_option_and_no_address_ever_passes(text: str) -> None:
    try:
        read = parse_requirements(text.encode())
    except RequirementRefused:
        return
    assert not any(line.startswith("-") or "://" in line for line in read.lines)
