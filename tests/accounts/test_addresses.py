from __future__ import annotations

from typing import Any

import pytest
from django.test import RequestFactory

from apps.accounts.addresses import UNKNOWN, client_address


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("", "198.51.100.1", UNKNOWN),
    ],
)
def test_only_trusted_proxies_say_where_a_request_comes_from(
    rf: RequestFactory, settings: Any, peer: str, forwarded: str, address: str
) -> None:
    settings.PORTICO_TRUSTED_PROXIES = ["10.0.0.1", "10.0.0.2"]
    assert client_address(rf.get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)) == address
