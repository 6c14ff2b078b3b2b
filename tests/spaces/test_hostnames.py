from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from apps.spaces.hostnames import MAX_SITES, ascii_host, read_sites


def test_sites_are_read_as_browsers_write_them() -> None:
    text = "HTTPS://Blog.Example.org/, https://*.example.org\nhttp://localhost:8080 https://bücher.example:443 https://blog.example.org"
    assert read_sites(text) == [
        "https://blog.example.org",
        "https://*.example.org",
        "http://localhost:8080",
        "https://xn--bcher-kva.example",
    ]
    assert read_sites(" \n") == []


@pytest.mark.parametrize(
    "text",
    [
        "*", "https://*", "https://*.org", "example.org", "https:", "https://", "ftp://example.org", "'self'", "data:",
        "https://a.example/path", "https://a.example?x", "https://a.example#x", "https://u@a.example", "https://a..b",
        "https://a.example:0", "https://a.example:65536", "https://a.example:x", "https://*a.example", "https://a.*.example",
        "https://a.example;script-src", "https://[::1]", "https://-a.example", "https://a_b.example", "https://a\\b.example",
        "https://" + "a" * 64 + ".example", "https://" + "a." * 130 + "example", "https://a\u2028.example",
        " ".join(f"https://a{n}.example" for n in range(MAX_SITES + 1)), "x" * 20_001,
    ],
)  # fmt: skip
def test_what_is_no_site_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        read_sites(text)


@pytest.mark.parametrize("text", ["", ".", "a b", "a/b", "a:1", "é" * 70, "xn--\u00e9", "127.0.0.1/8"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        ascii_host(text)
