"""A file system of bounded size in one file: what a Space keeps, under a limit that the kernel holds.

An ext4 image in a sparse file, on a loop device that frees itself (loop(4), LO_FLAGS_AUTOCLEAR), and attached to no
place of this machine: `Volume.mount` makes mounts as descriptors (fsmount(2)), to be handed to a sandbox. So a killed
agent leaves neither mount nor device: the kernel unmounts with the last descriptor or worker. For root alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

SMALLEST_BYTES = 16 * 1024**2
"""Less would hold hardly more than the journal."""
CHECK_SECONDS = 120.0
MAKE_SECONDS = 60.0
RELEASE_SECONDS = 10.0
KEPT_FREE_BYTES = 256 * 1024**2
"""With less room than this on the host, no image is made or used: one that cannot grow would be damaged."""
PROGRAMS = ("mkfs.ext4", "e2fsck", "resize2fs")
BLOCK_BYTES = 4096

_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 430, 431, 432
_SET_FLAG, _SET_STRING, _CMD_CREATE = 0, 1, 6
_CLOEXEC = 1
_ATTR_NOSUID, _ATTR_NODEV = 2, 4
_LOOP_CONFIGURE, _LOOP_CTL_GET_FREE = 0x4C0A, 0x4C82
_LO_FLAGS_AUTOCLEAR = 4
_GRAIN_BYTES = 1024**2
"""A file system may end this much before its file does."""
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class VolumeError(Exception):
    """Why what a Space keeps cannot be used now, in plain words for its owner; `detail` is for the administrator."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class Volume:
    """One image in use. Nobody else may have the same image in use; many mounts of this one may be made.

    Args:
        image: its file; made when it is not there.
        size: bytes that may be kept in it, the file system's own included. An image never shrinks: one that is larger
            is held to `size`, and what it has beyond stays and can be read and deleted.
        owner: the host's user who owns its root.

    Raises:
        VolumeError: it cannot be made, mended or mounted. Nothing is left of the attempt.
    """

    def __init__(self, image: Path, size: int, owner: int) -> None:
        self.image, self.size = image, size
        self._file = self._device = self._mount = -1
        try:
            _check_room(image)
            if not image.exists():
                _make(image, size, owner)
            self._take()
            self._mend()
            self._grow()
            self._attach()
            self._mount = self.mount()
            self._prepare(owner)
            self._hold()
        except OSError as error:
            self.close()
            raise VolumeError(f"it could not be mounted: {error}") from error
        except BaseException:
            self.close()
            raise

    def _take(self) -> None:
        """Open the image once nobody else has it: the kernel lets go of it a moment after its last user has ended. Two
        devices on one image would destroy what is in it."""
        self._file = os.open(self.image, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        deadline = time.monotonic() + RELEASE_SECONDS
        while not self._is_ours():
            if time.monotonic() > deadline:
                raise VolumeError("something else on this machine still uses it")
            time.sleep(0.02)

    def _is_ours(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return not _device_of(self.image)

    def _mend(self) -> None:
        """Replay the journal, and mend what can be mended without asking (e2fsck(8))."""
        done = _run(["e2fsck", "-p", str(self.image)], CHECK_SECONDS)
        if done.returncode > 1:
            raise VolumeError(
                "its file system is damaged and is not mended without asking; the administrator finds more in the "
                "agent's log and can run e2fsck while the Space is stopped",
                done.stdout.strip(),
            )

    def _attach(self) -> None:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        try:
            for _ in range(16):
                number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
                device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
                # struct loop_config: the file, the block size, then loop_info64 with nothing but its flags
                config = struct.pack("II", self._file, 0) + struct.pack("52xI176x", _LO_FLAGS_AUTOCLEAR) + bytes(64)
                try:
                    fcntl.ioctl(device, _LOOP_CONFIGURE, config)
                except OSError as error:
                    os.close(device)
                    if error.errno != errno.EBUSY:  # somebody else was quicker
                        raise
                else:
                    self._device = device
                    return
        finally:
            os.close(control)
        raise VolumeError("no loop device is free")

    def _prepare(self, owner: int) -> None:
        root = Path(f"/proc/self/fd/{self._mount}")
        if root.stat().st_uid != owner:
            os.chown(root, owner, owner)
        with contextlib.suppress(OSError):  # made again by e2fsck where it needs one
            (root / "lost+found").rmdir()

    def mount(self) -> int:
        """A mount of it that is attached nowhere yet, as a descriptor.

        Raises:
            OSError: the kernel refused.
        """
        context = _system_call("fsopen", _SYS_FSOPEN, b"ext4", _CLOEXEC)
        try:
            source = f"/dev/loop{os.minor(os.fstat(self._device).st_rdev)}".encode()
            for key, value in ((b"source", source), (b"errors", b"remount-ro")):
                _system_call("fsconfig", _SYS_FSCONFIG, context, _SET_STRING, key, value, 0)
            for flag in (b"discard", b"noinit_itable"):
                _system_call("fsconfig", _SYS_FSCONFIG, context, _SET_FLAG, flag, None, 0)
            _system_call("mount", _SYS_FSCONFIG, context, _CMD_CREATE, None, None, 0)
            return _system_call("fsmount", _SYS_FSMOUNT, context, _CLOEXEC, _ATTR_NOSUID | _ATTR_NODEV)
        finally:
            os.close(context)

    def _grow(self) -> None:
        """Make its file system as large as `size`, unless it is already; also after a crash half-way."""
        if os.fstat(self._file).st_size < self.size:
            os.ftruncate(self._file, self.size)
        if _file_system_bytes(self._file) > self.size - _GRAIN_BYTES:
            return
        for command in (["e2fsck", "-f", "-p"], ["resize2fs", "-f"]):
            done = _run([*command, str(self.image)], CHECK_SECONDS)
            if done.returncode > 1:
                raise VolumeError(f"it could not be made larger ({command[0]} failed)", done.stdout.strip())

    def _hold(self) -> None:
        """Allow no more than `size`, where the file system is larger: what is beyond is held back from everybody."""
        beyond = _file_system_bytes(self._file) - self.size
        if beyond > 0:
            name = f"loop{os.minor(os.fstat(self._device).st_rdev)}"
            reserve = Path(f"/sys/fs/ext4/{name}/reserved_clusters")
            reserve.write_text(str(int(reserve.read_text()) + beyond // BLOCK_BYTES))

    def usage(self) -> tuple[int, int]:
        """Bytes that its files take, and that they may take."""
        found = os.fstatvfs(self._mount)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        return used, used + found.f_bavail * found.f_frsize

    def close(self) -> None:
        """Let go of it. It is unmounted when no sandbox has a mount of it any more."""
        for descriptor in (self._mount, self._device, self._file):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._device = self._mount = -1


@cache
def unsupported() -> str:
    """Make, mount and leave a small volume, and return why that did not work; empty when it did. Tried once per
    process."""
    if os.geteuid() != 0:
        return "the agent is not root"
    for program in PROGRAMS:
        if shutil.which(program, path=_path()) is None:
            return f"{program} is missing; install the Debian package e2fsprogs"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices; load the kernel's module loop, or give /dev/loop* to the container"
    with tempfile.TemporaryDirectory(prefix="portico-volume-") as folder:
        try:
            Volume(Path(folder, "try.img"), SMALLEST_BYTES, 0).close()
        except VolumeError as error:
            return str(error)
    return ""


def _check_room(image: Path) -> None:
    image.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    free = shutil.disk_usage(image.parent).free
    if free < KEPT_FREE_BYTES:
        needed = KEPT_FREE_BYTES // 1024**2
        raise VolumeError(
            f"this machine's disk is full ({free / 1024**2:,.0f} MiB are free, {needed} are needed); the administrator "
            "can make room"
        )


def _make(image: Path, size: int, owner: int) -> None:
    """Aside, then renamed: half an image is never used."""
    aside = image.with_suffix(".part")
    aside.unlink(missing_ok=True)
    try:
        with aside.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.truncate(size)
        options = f"root_owner={owner}:{owner},lazy_itable_init=1,lazy_journal_init=1,nodiscard"
        journal = str(max(4, min(64, size // 1024**2 // 64)))
        arguments = ["-q", "-F", "-m", "0", "-b", str(BLOCK_BYTES), "-J", f"size={journal}", "-E", options]
        done = _run(["mkfs.ext4", *arguments, str(aside)], MAKE_SECONDS)
        if done.returncode != 0:
            raise VolumeError("its file system could not be made", done.stdout.strip())
        aside.rename(image)
    finally:
        aside.unlink(missing_ok=True)


def _file_system_bytes(file: int) -> int:
    """As its superblock says (ext4(5)).

    Raises:
        VolumeError: there is none.
    """
    superblock = os.pread(file, 1024, 1024)
    if len(superblock) < 1024 or superblock[56:58] != b"\x53\xef":
        raise VolumeError("its image holds no file system")
    blocks_low, log_block_size = struct.unpack_from("<I", superblock, 4)[0], struct.unpack_from("<I", superblock, 24)[0]
    blocks_high = struct.unpack_from("<I", superblock, 0x150)[0]
    return int((blocks_high << 32 | blocks_low) * (1024 << log_block_size))


def _device_of(image: Path) -> str:
    for folder in Path("/sys/block").glob("loop*/loop"):
        with contextlib.suppress(OSError):
            backing = (folder / "backing_file").read_text().rstrip("\n")
            if backing == str(image.resolve()):
                return folder.parent.name
    return ""


def _run(command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    program = shutil.which(command[0], path=_path())
    if program is None:
        raise VolumeError(f"{command[0]} is missing; install the Debian package e2fsprogs")
    try:
        return subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds,
            env={"LC_ALL": "C", "PATH": _path()}, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise VolumeError(f"{command[0]} did not end within {seconds:g} s") from None


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def _system_call(name: str, number: int, *arguments: bytes | int | None) -> int:
    values = [ctypes.c_char_p(a) if a is None or isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *values))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result
