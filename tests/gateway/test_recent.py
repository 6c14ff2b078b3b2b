"""What the gateway keeps in memory, within its bound."""

from __future__ import annotations

from apps.gateway.recent import ENTRY_BYTES, Recent


def test_what_was_used_the_longest_time_ago_goes_first() -> None:
    known = Recent[str, bytes](3 * (ENTRY_BYTES + 100), len)
    for key in "abc":
        known.put(key, b"x" * 100)
    assert known.get("a") == b"x" * 100
    known.put("d", b"x" * 100)
    assert ("b" in known, known.get("b")) == (False, None)
    assert [key in known for key in "acd"] == [True] * 3
    known.put("e", b"x" * 200)
    assert [key in known for key in "acde"] == [False, False, True, True], "more bytes take the place of two"


def test_bytes_are_counted_as_values_come_change_and_go() -> None:
    known = Recent[int, bytes](20_000, len)
    for key in [*range(100), *range(0, 100, 3), 99, 99]:
        known.put(key, b"x" * (key * 50))
        assert known.bytes <= 20_000
    kept = [value for key in range(100) if (value := known.get(key)) is not None]
    assert (
        known.bytes == sum(map(len, kept)) + len(kept) * ENTRY_BYTES == sum(map(len, kept)) + len(known) * ENTRY_BYTES
    )


def test_entries_without_content_are_bounded_too() -> None:
    known = Recent[int, None](10 * ENTRY_BYTES, lambda _: 0)
    for key in range(1_000):
        known.put(key, None)
    assert len(known) == 10 and 999 in known


def test_what_is_larger_than_all_room_is_kept_until_another_comes() -> None:
    known = Recent[str, bytes](1_000, len)
    known.put("a", b"x" * 5_000)
    assert known.get("a") is not None
    known.put("b", b"")
    assert "a" not in known and known.bytes == ENTRY_BYTES
