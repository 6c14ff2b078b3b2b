"""Archives that climb, link, explode or lie are refused, and leave nothing."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from apps.spaces import archives
from apps.spaces.archives import ArchiveError, expand


def make_zip(path: Path, files: dict[str, bytes], **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = attributes.get("mode", 0o100644) << 16
            archive.writestr(info, data)
    return path


def make_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def refused(archive: Path, tmp_path: Path, words: str = ".") -> None:
    with pytest.raises(ArchiveError, match=words):
        expand(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path.parent / "climbed").exists()


def test_a_zip_and_a_tar_give_their_files(tmp_path: Path) -> None:
    names, _ = expand(make_zip(tmp_path / "a.zip", {"app.py": b"1", "data/x.csv": b"2"}), tmp_path / "zip")
    assert sorted(names) == ["app.py", "data/x.csv"]
    assert (tmp_path / "zip" / "data" / "x.csv").read_bytes() == b"2"
    tar = make_tar(tmp_path / "a.tar.gz", (member("./app.py"), b"1"), (member("data/x.csv"), b"2"))
    assert sorted(expand(tar, tmp_path / "tar")[0]) == ["app.py", "data/x.csv"]


def test_a_single_folder_around_everything_is_left_out(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"demo/app.py": b"", "demo/data/x": b"", "__MACOSX/demo/._app.py": b""})
    names, skipped = expand(archive, tmp_path / "out")
    assert sorted(names) == ["app.py", "data/x"]
    assert skipped == ["__MACOSX/demo/._app.py"]


@pytest.mark.parametrize(
    "name", ["../climbed", "/climbed", "a/../../climbed", "C:\\climbed", "..\\climbed", "x/.GIT/hooks/y"]
)
def test_a_name_that_climbs_out_is_refused(name: str, tmp_path: Path) -> None:
    refused(make_zip(tmp_path / "a.zip", {"ok": b"", name: b"x"}), tmp_path)
    refused(make_tar(tmp_path / "a.tar.gz", (member(name), b"x")), tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    refused(make_tar(tmp_path / "a.tar", (member("x", kind, "/etc/passwd"), b""), mode="w"), tmp_path, "link or device")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    refused(make_zip(tmp_path / "a.zip", {"x": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777), tmp_path, "link or device")


def test_a_bomb_is_stopped_while_it_expands(tmp_path: Path, settings: Any) -> None:
    settings.PORTICO_MAX_FILE_BYTES = 1024**2
    refused(make_zip(tmp_path / "a.zip", {"zeros": b"\0" * (2 * 1024**2)}), tmp_path, "expands to more")
    settings.PORTICO_MAX_REPO_BYTES = 3 * 1024**2
    many = {f"{n}": b"\0" * 1024**2 for n in range(4)}
    refused(make_zip(tmp_path / "b.zip", many), tmp_path, "expands to more")


def test_a_bomb_is_stopped_by_its_bounds_alone(tmp_path: Path, settings: Any) -> None:
    settings.PORTICO_MAX_FILE_BYTES = settings.PORTICO_MAX_REPO_BYTES = 1024**3
    bomb = make_zip(tmp_path / "a.zip", {"zeros": b"\0" * (32 * 1024**2)})
    assert bomb.stat().st_size < 64 * 1024
    expand(bomb, tmp_path / "out")
    assert (tmp_path / "out" / "zeros").stat().st_size == 32 * 1024**2


def test_a_name_climbs_out_where_nobody_looks_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "clean_path", lambda name: name)
    expand(make_zip(tmp_path / "a.zip", {"ok": b"", "../climbed": b"x"}), tmp_path / "out")
    assert (tmp_path / "climbed").read_bytes() == b"x"


def test_a_size_that_lies_is_not_believed(tmp_path: Path, settings: Any) -> None:
    settings.PORTICO_MAX_FILE_BYTES = 1000
    archive = make_zip(tmp_path / "a.zip", {"zeros": b"\0" * 100_000})
    data = archive.read_bytes().replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    archive.write_bytes(data)
    refused(archive, tmp_path)


def test_too_many_entries_are_refused(tmp_path: Path, settings: Any) -> None:
    settings.PORTICO_MAX_FILES = 10
    refused(make_zip(tmp_path / "a.zip", {str(n): b"" for n in range(11)}), tmp_path, "more than 10 entries")


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    refused(make_tar(tmp_path / "a.tar", (member("x"), b"1"), (member("x"), b"2"), mode="w"), tmp_path, "twice")
    refused(make_tar(tmp_path / "b.tar", (member("x"), b"1"), (member("x/y"), b"2"), mode="w"), tmp_path, "both")


@pytest.mark.parametrize("data", [b"", b"not an archive", b"PK\x03\x04" + b"\0" * 40, b"\x1f\x8b" + b"\0" * 100])
def test_what_is_no_archive_is_told(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    refused(tmp_path / "a.zip", tmp_path, "archive")


def test_a_broken_archive_is_told(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"x": bytes(range(256)) * 100})
    data = bytearray(archive.read_bytes())
    data[60:90] = b"\xff" * 30
    archive.write_bytes(bytes(data))
    refused(archive, tmp_path, "broken")


def test_an_encrypted_zip_is_told(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"x": b"secret"})
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    archive.write_bytes(bytes(data))
    refused(archive, tmp_path, "encrypted")
