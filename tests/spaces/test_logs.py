"""Logs: bounded, with offsets that outlive rotation."""

from __future__ import annotations

from typing import Any

from apps.spaces.logs import LogWriter, delete_logs, last_lines, read_log, text_of


def test_what_is_written_is_read_from_any_offset() -> None:
    writer = LogWriter(901, "run", fresh=True)
    start = writer.offset
    writer.write(b"one\n")
    writer.write(b"two\n")
    assert read_log(901, "run", start) == (start, b"one\ntwo\n", start + 8)
    assert read_log(901, "run", start + 4) == (start + 4, b"two\n", start + 8)
    assert read_log(901, "run", start + 8) == (start + 8, b"", start + 8)


def test_a_log_without_end_is_bounded_and_keeps_the_newest(settings: Any) -> None:
    settings.PORTICO_LOG_BYTES = 10_000
    writer = LogWriter(902, "run", fresh=True)
    for number in range(2_000):
        writer.write(b"line %06d\n" % number)
    start, data, end = read_log(902, "run")
    assert len(data) <= 11_000
    assert data.endswith(b"line 001999\n")
    assert end - start == len(data) and start > 0
    assert last_lines(902, "run", 2) == "line 001998\nline 001999"


def test_a_fresh_log_forgets_and_its_offsets_go_on() -> None:
    LogWriter(903, "build", fresh=True).write(b"old\n")
    writer = LogWriter(903, "build", fresh=True)
    writer.write(b"new\n")
    start, data, _ = read_log(903, "build")
    assert (start, data) == (4, b"new\n")


def test_deleted_logs_are_gone() -> None:
    LogWriter(904, "run").write(b"x")
    delete_logs(904)
    assert read_log(904, "run") == (0, b"", 0)


def test_the_newest_bytes_are_read_alone(settings: Any) -> None:
    settings.PORTICO_LOG_BYTES = 100
    writer = LogWriter(905, "run", fresh=True)
    for number in range(20):
        writer.write(b"line %04d\n" % number)
    start, data, end = read_log(905, "run", newest=30)
    assert (data, end - start) == (b"line 0017\nline 0018\nline 0019\n", 30)
    assert read_log(905, "run", offset=end - 10, newest=30) == (end - 10, b"line 0019\n", end)
    assert read_log(905, "run", offset=end + 99) == (end, b"", end)


def test_text_waits_for_the_rest_of_its_last_character() -> None:
    assert text_of("aé".encode()[:2]) == ("a", 1)
    assert text_of(b"\xff\xe9a") == ("\ufffd\ufffda", 3)
