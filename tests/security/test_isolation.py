"""Hostile code in a real worker: it looks around, and finds nothing that is not its own."""

from __future__ import annotations

import asyncio
import errno
import os
import platform
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from apps.runtime import client
from apps.sandbox.bubblewrap import HIDDEN_FILES, HIDDEN_FOLDERS
from apps.spaces.encryption import encrypt
from apps.spaces.models import Space, SpaceVariable
from tests import running_agent
from tests.running_agent import HELLO, RunningAgent, bare_environment, ensure, fetch, listening, sleeping_space
from tests.security import spy as spies
from tests.security.spy import ATTACH, SPY, capability, cgroups_seen, machine_memory

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), spies.EVERY_WAY]


@pytest.fixture(scope="module")
def agent_of_file(agent_is: str, django_db_setup: None) -> Iterator[RunningAgent]:
    with spies.agent_of(agent_is) as running:
        yield running


@pytest.fixture(autouse=True)
def spaces_for(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds for a worker of a fresh interpreter, and for one that is forked from a zygote."""
    if way == "forked":
        monkeypatch.setitem(globals(), "sleeping_space", bare_space)


def bare_space(files: str = HELLO) -> Space:
    return running_agent.sleeping_space(files, environment=bare_environment())


class Worker(spies.Worker):
    def __init__(self, space: Space | None = None) -> None:
        super().__init__(space or sleeping_space(SPY))


@pytest.fixture
def spy(agent: RunningAgent) -> Worker:
    return Worker()


def test_it_has_its_own_variables_and_inherits_none(agent: RunningAgent) -> None:
    space = sleeping_space(SPY)
    SpaceVariable.objects.create(space=space, key="GREETING", value="good day")
    SpaceVariable.objects.create(space=space, key="API_KEY", secret=encrypt("s3cret é"))
    other = sleeping_space()
    SpaceVariable.objects.create(space=other, key="OTHER_KEY", secret=encrypt("not yours"))
    ensure(other)
    found = Worker(space).ask("dict(os.environ)")
    assert isinstance(found, dict)
    assert (found["GREETING"], found["API_KEY"]) == ("good day", "s3cret é")
    assert found["SPACE_ID"] == space.slug
    defaults = (
        "GRADIO_ANALYTICS_ENABLED GRADIO_SERVER_NAME GRADIO_SERVER_PORT GRADIO_TEMP_DIR HF_HOME "
        "HF_HUB_DISABLE_TELEMETRY HOME LANG LC_CTYPE MPLCONFIGDIR NUMBA_CACHE_DIR PATH PORT PWD "
        "PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED SPACE_AUTHOR_NAME SPACE_ID SPACE_REPO_NAME TMPDIR USER "
        "XDG_CACHE_HOME"
    )
    allowed = {"GREETING", "API_KEY", *defaults.split()}
    assert set(found) <= allowed


def test_secrets_are_on_no_command_line_and_in_no_file_of_the_host(agent: RunningAgent) -> None:
    space = sleeping_space(SPY)
    SpaceVariable.objects.create(space=space, key="API_KEY", secret=encrypt("a-very-telling-secret"))
    Worker(space)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                assert b"a-very-telling-secret" not in (entry / "cmdline").read_bytes()
            except OSError:
                continue


def test_the_first_process_inside_keeps_no_environment_of_the_agents(spy: Worker) -> None:
    found = spy.ask("open('/proc/1/environ').read()")
    assert isinstance(found, str)
    for name in ("PORTICO", "SECRET", "DJANGO", "DATABASE"):
        assert name not in found


def test_it_holds_only_its_standard_descriptors(spy: Worker) -> None:
    found = spy.ask("open_files")
    assert isinstance(found, dict)
    assert found["0"] == "/dev/null"
    assert found["1"] == found["2"]
    assert found["1"].startswith("pipe:")
    assert set(found) <= {"0", "1", "2"}, found


def test_it_does_not_see_the_hosts_files(spy: Worker) -> None:
    portal = (
        settings.PORTICO_DATA,
        settings.PORTICO_RUN,
        settings.BASE_DIR / "portal",
        settings.BASE_DIR / "manage.py",
    )
    system = ("/root/.ssh", "/etc/shadow", "/etc/ssl/private", "/sys", "/var", "/run", "/boot", "/srv")
    for path in (*map(str, portal), *system):
        assert spy.ask(f"os.path.exists({path!r})") is False, path
    assert spy.ask("os.listdir('/home')") == ["user"]


def test_it_sees_no_other_process_and_none_of_another_worker(spy: Worker) -> None:
    neighbour = Worker()
    seen = spy.ask("sorted(int(n) for n in os.listdir('/proc') if n.isdigit())")
    assert isinstance(seen, list)
    assert len(seen) <= 3
    assert spy.ask("os.getpid()") in seen
    marker = neighbour.ask("write('/tmp/marker')")
    assert marker == "written"
    for folder in ("/tmp", "/dev/shm", "/home/user", "/app"):
        assert spy.ask(f"os.path.exists('{folder}/marker')") is False


def test_it_reaches_no_port_of_the_portal_nor_a_private_network(spy: Worker) -> None:
    """Here as the machine of the tests happens to be; `test_egress.py` has a world around it."""
    with listening() as port:
        own = socket.gethostbyname(socket.gethostname())
        for address in ("127.0.0.1", own, "169.254.169.254", "10.0.0.1"):
            answer = spy.ask(f"reach(socket.AF_INET, ({address!r}, {port}))")
            assert isinstance(answer, str)
            assert "Error" in answer, (address, answer)
    devices = spy.ask("[name for _, name in socket.if_nameindex()]")
    assert devices in (["lo"], ["lo", "eth0"])


def test_it_reaches_no_other_worker_and_no_socket_of_the_agent(spy: Worker) -> None:
    Worker()
    assert spy.ask("reach(socket.AF_INET, ('127.0.0.1', 7860))") == "reached", "its own"
    agent_socket = str(client.api_path())
    answer = spy.ask(f"reach(socket.AF_UNIX, {agent_socket!r})")
    assert answer == "FileNotFoundError: [Errno 2] No such file or directory"
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0portico-test-abstract")
        abstract.listen()
        answer = spy.ask("reach(socket.AF_UNIX, '\\0portico-test-abstract')")
        assert answer == "ConnectionRefusedError: [Errno 111] Connection refused"


def test_a_stranger_on_the_host_does_not_reach_the_worker(spy: Worker) -> None:
    with socket.socket() as stranger:
        assert stranger.connect_ex(("127.0.0.1", spy.worker.port)) != 0


def test_it_writes_nowhere_but_in_its_own_folders(spy: Worker) -> None:
    for path in ("/x", "/usr/x", "/usr/bin/x", "/etc/passwd", "/etc/x", "/dev/x", "/opt/x", "/proc/x", "/home/x"):
        answer = spy.ask(f"write({path!r})")
        assert isinstance(answer, str), path
        assert "Error" in answer, path
    for folder in ("/tmp", "/home/user", "/dev/shm", "/app"):
        assert spy.ask(f"write('{folder}/x')") == "written"


def test_it_changes_nothing_of_the_kernel(spy: Worker) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    assert "Error" in str(spy.ask("write('/proc/sys/kernel/core_pattern', '|/app/exploit')"))
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before
    assert spy.ask("writable_proc()") == []


def test_it_sees_nothing_of_the_machines_hardware_and_keys(spy: Worker) -> None:
    for name in HIDDEN_FOLDERS:
        assert spy.ask(f"os.listdir('/proc/{name}') if os.path.exists('/proc/{name}') else []") == []
    for name in HIDDEN_FILES:
        device = f"stat.S_ISCHR(os.stat('/proc/{name}').st_mode)"
        assert spy.ask(f"{device} if os.path.exists('/proc/{name}') else True") is True, "/dev/null over it"


def test_it_shares_no_memory_with_the_machine_and_does_not_see_its_control_groups(spy: Worker) -> None:
    with machine_memory() as key:
        assert spy.do(ATTACH.format(key)) == errno.ENOENT
    assert cgroups_seen(spy) == {"/"}


def test_it_has_no_capability_and_gains_none(spy: Worker) -> None:
    status = str(spy.ask("open('/proc/self/status').read()"))
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[name], 16) == 0, name
    assert fields["NoNewPrivs"] == "1"
    assert spy.ask("(os.getuid(), os.getgid())") == [1000, 1000]
    assert spy.ask("userns()") == [-1, -1, -1], "no further namespace"
    assert "Error" in str(spy.ask("os.setuid(0)"))


def test_it_cannot_mount_nor_make_devices(spy: Worker) -> None:
    mount = "__import__('ctypes').CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, b'')"
    assert spy.ask(mount) == -1
    assert "PermissionError" in str(spy.ask("os.mknod('/tmp/disk', stat.S_IFBLK | 0o600, os.makedev(254, 0))"))


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def children_of(pid: int) -> list[int]:
    return [int(n) for task in Path(f"/proc/{pid}/task").iterdir() for n in (task / "children").read_text().split()]


def test_neither_it_nor_its_first_process_has_any_rights(agent_is: str, spy: Worker) -> None:
    """As the kernel tells outside."""
    (app,) = children_of(spy.init)
    for status in (status_of(spy.init), status_of(app)):
        assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}, status["Name"]
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert len(set(status["Uid"].split())) == len(set(status["Gid"].split())) == 1
        assert agent_is != "root" or status["Groups"] == ""


def test_it_runs_as_a_user_of_its_own(agent: RunningAgent, agent_is: str, spy: Worker) -> None:
    """Its own on this machine too, not only in its namespace. An ordinary user has no others to give, and says so."""
    users = {Path(f"/proc/{worker.init}").stat().st_uid for worker in (spy, Worker())}
    assert agent.process is not None
    its_own = Path(f"/proc/{agent.process.pid}").stat().st_uid
    told = capability("user")["detail"]
    if agent_is == "root":
        assert len(users) == 2
        assert min(users) >= 0x70000000
        assert "another user" in told
    else:
        assert users == {its_own} != {0}
        assert "workers are its own user" in told


CALLS = (
    ("unshare", 272), ("mount", 165), ("bpf", 321), ("keyctl", 250), ("add_key", 248), ("ptrace", 101),
    ("perf_event_open", 298), ("process_vm_readv", 310), ("init_module", 175), ("kexec_load", 246),
    ("userfaultfd", 323), ("io_uring_setup", 425), ("setns", 308), ("pivot_root", 155), ("chroot", 161),
    ("open_by_handle_at", 304), ("reboot", 169), ("swapon", 167), ("personality", 135), ("move_mount", 429),
)  # fmt: skip
"""Numbers of x86-64."""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
def test_the_kernel_refuses_what_administers_it(spy: Worker) -> None:
    for call, number in CALLS:
        said = spy.ask(f"(lambda c: (c.syscall({number}, 0, 0, 0, 0, 0), __import__('ctypes').get_errno()))"
                       "(__import__('ctypes').CDLL(None, use_errno=True))")  # fmt: skip
        assert said == [-1, errno.EPERM], call


def test_it_cannot_make_itself_more_important_nor_change_the_machine(spy: Worker) -> None:
    for attempt in (
        "os.nice(-5)",
        "os.setpriority(os.PRIO_PROCESS, 0, -10)",
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
        "os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))",
        "__import__('time').clock_settime(0, 1.0)",
        "write('/proc/self/oom_score_adj', '-1000')",
        "open('/dev/kmsg').read(1)",
        "open('/proc/kmsg').read(1)",
        "write('/proc/sys/kernel/hostname')",
        "write('/proc/sysrq-trigger', 'b')",
        "os.chroot('/tmp')",
        "socket.sethostname('x')",
        "__import__('resource').setrlimit(7, (1 << 20, 1 << 20))",
        "str(socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))",
        "str(socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132))",
        "str(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12))",
    ):
        assert "Error" in str(spy.ask(attempt)), attempt
    assert int(str(spy.ask("int(open('/proc/self/oom_score_adj').read())"))) >= 500, "the first to go"


def test_it_reaches_nothing_by_way_of_proc_links_or_descriptors(spy: Worker) -> None:
    for attempt in (
        "open('/proc/1/mem', 'r+b')",
        "os.readlink('/proc/1/fd/1')",
        "os.open('/proc/1/fd/1', os.O_WRONLY)",
        "os.listdir('/proc/1/root/')",
        "open('/proc/1/exe', 'r+b')",
        "open(os.readlink('/proc/self/exe'), 'r+b')",
        "os.link('/usr/bin/env', '/tmp/env')",
        "os.link('/opt/environment/pyvenv.cfg', '/app/x')",
        "os.rename('/app', '/tmp/app')",
        "os.kill(1, 9)",
        "os.kill(1, 15)",
        "open('/proc/self/cwd/../root/.ssh/id_rsa')",
    ):
        assert "Error" in str(spy.ask(attempt)), attempt
    assert spy.do("os.symlink('/proc/1/root/root', '/app/up')\nfound = os.path.exists('/app/up')") is False
    kept = spy.do(
        "names = [os.readlink(f'/proc/self/fd/{n}') for n in range(3, 64) if os.path.islink(f'/proc/self/fd/{n}')]\n"
        "found = [name for name in names if not name.startswith('socket:')]"
    )
    assert kept == [], "nothing of the birth, of the control groups, of the plan"
    assert fetch(spy.worker, "/") == "ready", "signals to its whole group, pid 1 in it, did not end it"


def test_a_setuid_program_gives_nothing(spy: Worker) -> None:
    programs = [str(p) for p in Path("/usr/bin").iterdir() if p.is_file() and p.stat().st_mode & 0o4000]
    assert programs, "Debian has su and others"
    for program in programs[:4]:
        ids = spy.do(
            f"p = subprocess.Popen([{program!r}], stdin=subprocess.PIPE, stdout=-3, stderr=-3)\n"
            "status = open(f'/proc/{p.pid}/status').read()\np.kill()\n"
            "found = [line.split()[1:] for line in status.splitlines() if line.startswith(('Uid', 'CapEff'))]"
        )
        assert ids == [["1000"] * 4, ["0000000000000000"]], program


def test_it_has_sockets_of_the_internet_alone(spy: Worker) -> None:
    for family in ("AF_PACKET", "AF_VSOCK", "AF_ALG"):
        assert "Error" in str(spy.ask(f"str(socket.socket(socket.{family}, socket.SOCK_DGRAM))")), family
    status = str(spy.ask("open('/proc/self/status').read()"))
    assert "Seccomp:\t2" in status


def test_sockets_are_only_made_for_workers_that_live(agent: RunningAgent) -> None:
    from uuid import uuid4

    with pytest.raises(client.WorkerGone):
        asyncio.run(client.worker_sockets(uuid4(), 1))


def test_the_agents_sockets_are_for_its_user_alone(agent: RunningAgent) -> None:
    assert settings.PORTICO_RUN.stat().st_mode & 0o077 == 0
    for path in (client.api_path(), client.sockets_path()):
        assert path.stat().st_mode & 0o077 == 0
