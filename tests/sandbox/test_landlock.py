"""Landlock, on the kernel that is here: what it forbids, what must go on, and older versions of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from apps.sandbox.inside import landlock

pytestmark = pytest.mark.skipif(landlock.version() < landlock.OLDEST, reason="this kernel has no Landlock to be tested")

ORDINARY = """
import array, fcntl, mmap, multiprocessing, os, pty, shutil, socket, subprocess, sys, tempfile, termios
folder = sys.argv[1]
os.chdir(folder)
os.makedirs("a/b"); os.mkdir("c")
open("a/f", "w").write("text"); os.truncate("a/f", 2); open("a/f", "a").write("more")
os.rename("a/f", "c/f"); os.link("c/f", "a/g"); os.symlink("../c/f", "a/s"); os.mkfifo("a/p")
assert open("a/s").read() == "temore"
shutil.move("a/b", "c/b"); shutil.rmtree("a")
server = socket.socket(socket.AF_UNIX); server.bind(folder + "/sock"); server.listen()
client = socket.socket(socket.AF_UNIX); client.connect(folder + "/sock")
own = socket.socket(socket.AF_UNIX); own.bind("\\0portico-landlock-%d" % os.getpid()); own.listen()
client = socket.socket(socket.AF_UNIX); client.connect("\\0portico-landlock-%d" % os.getpid())
with tempfile.TemporaryFile(dir=folder) as file:
    file.write(b"x" * 4096); file.flush(); mmap.mmap(file.fileno(), 4096)
assert subprocess.run("echo hello > /dev/null && cat /etc/passwd | wc -l", shell=True).returncode == 0
master, slave = pty.openpty()
assert termios.tcgetattr(slave); fcntl.ioctl(slave, termios.TIOCGWINSZ, array.array("h", [0] * 4))
open("/proc/self/comm", "w").write("renamed")
def square(n): return n * n
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(square, range(3)) == [0, 1, 4]
child = subprocess.Popen(["sleep", "100"]); child.terminate(); assert child.wait() == -15
print("all of it")
"""
FORBIDDEN = """
import os, sys
def tried(what):
    try:
        what()
    except PermissionError:
        return "no"
    return "yes"
outside = sys.argv[2]
print(tried(lambda: open(outside + "/new", "w")), tried(lambda: open(outside + "/there", "r+")),
      tried(lambda: os.mkdir(outside + "/d")), tried(lambda: os.truncate(outside + "/there", 0)),
      tried(lambda: os.unlink(outside + "/there")), tried(lambda: os.kill(os.getppid(), 0)))
"""


def held(code: str, folder: Path, outside: Path, version: int | None = None) -> str:
    """Run `code` held to `folder`, as a kernel of that version of Landlock would hold it."""
    begin = "import sys; sys.path.insert(0, sys.argv[3]); import landlock\n"
    if version is not None:
        begin += f"landlock.version = lambda: {version}\n"
    begin += "print(landlock.restrict([sys.argv[1], '/dev/shm', '/not/there']))\n"
    inside = str(Path(landlock.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", begin + code, str(folder), str(outside), inside],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("inner", "outer"):
        (tmp_path / name).mkdir()
    (tmp_path / "outer" / "there").write_text("text")
    return tmp_path / "inner", tmp_path / "outer"


@pytest.mark.parametrize("version", [None, 2, 3, 4, 5, 6])
def test_what_programs_do_goes_on_in_their_folders(folders: tuple[Path, Path], version: int | None) -> None:
    if version is not None and version > landlock.version():
        pytest.skip("newer than this kernel")
    assert held(ORDINARY, *folders, version).endswith("all of it\n")


@pytest.mark.parametrize("version", [2, 3, 5, 6, 7])
def test_nothing_is_written_elsewhere(folders: tuple[Path, Path], version: int) -> None:
    if version > landlock.version():
        pytest.skip("newer than this kernel")
    used, *answers = held(FORBIDDEN, *folders, version).split()
    truncate = "no" if version >= 3 else "yes"
    signal = "no" if version >= 6 else "yes"
    assert [used, *answers] == [str(version), "no", "no", "no", truncate, "no", signal]
    assert (folders[1] / "there").exists()


@pytest.mark.parametrize("version", [0, 1])
def test_where_it_cannot_be_used_nothing_changes(folders: tuple[Path, Path], version: int) -> None:
    assert held(FORBIDDEN, *folders, version).split()[:2] == ["0", "yes"]


def test_the_report_tries_it() -> None:
    from apps.sandbox.report import machine_report

    (check,) = [c for c in machine_report(egress=True) if c["name"] == "landlock"]
    assert check["ok"]
    assert f"version {landlock.version()}: workers and builds write in their own folders alone" in check["detail"]


def test_a_command_gets_its_whole_environment_and_no_descriptor_of_the_wall(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b'{"HELLO": "world"}')
    os.close(write)
    code = "import os; print(dict(os.environ), sorted(map(int, os.listdir('/proc/self/fd')))[:4])"
    program = [sys.executable, "-I", "-S", landlock.__file__, str(read), "[]", sys.executable, "-c", code]
    done = subprocess.run(program, pass_fds=[read], capture_output=True, text=True, check=True)
    os.close(read)
    assert "'HELLO': 'world'" in done.stdout
    assert "'PATH'" not in done.stdout
    assert done.stdout.rstrip().endswith("[0, 1, 2, 3]"), "3 is the listing itself"
