"""An agent without some of its walls: `python -m tests.security.weakened WALL...`.

It is the product's own agent, with a function of it replaced, or with a line of the programs that run inside of the
sandbox, of which it then uses a copy. A line that is not there any more is an error, so no wall is only seemingly gone.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

WALLS: dict[str, Callable[[], None]] = {}


def wall(take_away: Callable[[], None]) -> Callable[[], None]:
    WALLS[take_away.__name__] = take_away
    return take_away


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} has no longer one: {old}"
    path.write_text(text.replace(old, new))


def copy_programs() -> None:
    """Have the agent run copies of the programs inside, which `rewrite` may change."""
    from apps.runtime.zygote import pool
    from apps.sandbox import launch

    folder = Path(tempfile.mkdtemp(prefix="portico-weakened-", dir=os.environ["PORTICO_DATA"]))
    Path(os.environ["PORTICO_DATA"]).chmod(0o755)
    folder.chmod(0o755)
    shutil.copytree(launch.INSIDE[0], folder / "sandbox")
    shutil.copytree(pool.INSIDE, folder / "zygote")
    shutil.copy(launch._LAUNCHER, folder / "launcher.py")
    launch.INSIDE = (folder / "sandbox", launch.INSIDE[1])
    pool.INSIDE = folder / "zygote"
    launch._LAUNCHER = folder / "launcher.py"


@wall
def seccomp() -> None:
    from apps.sandbox import seccomp

    seccomp.program = lambda **_: None  # type: ignore[assignment]


@wall
def landlock() -> None:
    from apps.sandbox import launch

    rewrite(launch.INSIDE[0] / "landlock.py", "there = version()", "there = 0")


@wall
def capabilities() -> None:
    from apps.runtime.zygote import pool

    rewrite(pool.INSIDE / "child.py", "k.drop_capabilities(last)", "pass")
    check_of_forks()
    replace_arguments({"--cap-drop": "--cap-add"})


def replace_arguments(others: dict[str, str | None], *, only: Callable[[Any], bool] = lambda _: True) -> None:
    """Bubblewrap's options, changed; None leaves one out together with its value."""
    from apps.sandbox.bubblewrap import Sandbox

    former = Sandbox.arguments

    def changed(sandbox: Sandbox) -> Iterator[str]:
        given = iter(former(sandbox))
        for word in given:
            if word in others and only(sandbox):
                if others[word] is None:
                    next(given)
                else:
                    yield str(others[word])
            else:
                yield word

    Sandbox.arguments = lambda sandbox: list(changed(sandbox))  # type: ignore[method-assign]


def leave_out(option: str, *, only: Callable[[Any], bool] = lambda _: True) -> None:
    """Bubblewrap's options without one that has no value."""
    from apps.sandbox.bubblewrap import Sandbox

    former = Sandbox.arguments
    Sandbox.arguments = lambda sandbox: [  # type: ignore[method-assign]
        word for word in former(sandbox) if word != option or not only(sandbox)
    ]


@wall
def read_only() -> None:
    replace_arguments({"--ro-bind": "--bind", "--remount-ro": None})


@wall
def private_root() -> None:
    """Sandboxes have the portal's data folder in them."""
    from apps.sandbox.bubblewrap import Sandbox

    former, data = Sandbox.arguments, os.environ["PORTICO_DATA"]
    Sandbox.arguments = lambda sandbox: ["--ro-bind", data, "/srv", *former(sandbox)]  # type: ignore[method-assign]


@wall
def ipc_namespace() -> None:
    from apps.runtime.zygote import pool

    leave_out("--unshare-ipc")
    rewrite(pool.INSIDE / "child.py", "k.CLONE_NEWNET | k.CLONE_NEWIPC |", "k.CLONE_NEWNET |")


@wall
def cgroup_namespace() -> None:
    from apps.runtime.zygote import pool

    leave_out("--unshare-cgroup-try")
    rewrite(pool.INSIDE / "child.py", "\n    | k.CLONE_NEWCGROUP\n", "\n")


@wall
def own_user() -> None:
    from apps.runtime import spawner

    spawner.user_of_space = lambda _: None


@wall
def proc_cover() -> None:
    from apps.runtime.zygote import pool
    from apps.sandbox import bubblewrap

    assert set(pool.PROC) == {"read_only", "hidden", "limits"}
    pool.PROC["read_only"] = pool.PROC["hidden"] = []
    bubblewrap.READ_ONLY_PROC = bubblewrap.HIDDEN_FILES = bubblewrap.HIDDEN_FOLDERS = ()  # type: ignore[assignment]


@wall
def pid_namespace() -> None:
    """Of fresh interpreters; forks could not tell their first process without."""

    leave_out("--unshare-pid", only=lambda sandbox: not sandbox.for_zygote)


def rewrite_rules(old: str, new: str) -> None:
    """A router with other rules; its table must have the words `old` once."""
    from apps.sandbox.egress import rules

    text = rules.for_router()
    assert text.count(old) == 1, f"the router's rules have no longer one: {old}"
    changed = text.replace(old, new)
    rules.for_router = lambda: changed


@wall
def egress_private() -> None:
    rewrite_rules("ip daddr @refused4 reject with icmpx admin-prohibited", "")


@wall
def egress_host() -> None:
    rewrite_rules("ip daddr @host4 reject with icmpx admin-prohibited", "")


@wall
def egress_workers() -> None:
    rewrite_rules('oifname != "up0" reject with icmpx admin-prohibited', 'oifname != "up0" accept')
    rewrite_rules('iifname != "w*" drop', "")


@wall
def egress_router() -> None:
    rewrite_rules("type filter hook input priority filter; policy drop;", "type filter hook input priority filter;")
    rewrite_rules('iifname "w*" reject with icmpx admin-prohibited', "")


@wall
def egress_spoofed() -> None:
    rewrite_rules('iifname "w*" fib saddr . iif oif missing drop', "")


@wall
def egress_connections() -> None:
    rewrite_rules("ct state new add @connections4", "ct state invalid add @connections4")


def unlimited(controller: str) -> None:
    from apps.sandbox import cgroups

    for version in (1, 2):
        name = f"_limit_v{version}"
        former = getattr(cgroups, name)

        def without(folders: dict[str, Path], limits: Any, former: Any = former) -> None:
            former({key: folder for key, folder in folders.items() if key != controller}, limits)

        setattr(cgroups, name, without)


@wall
def memory() -> None:
    unlimited("memory")


@wall
def processes() -> None:
    unlimited("pids")


@wall
def cpu() -> None:
    unlimited("cpu")


@wall
def disk() -> None:
    from apps.runtime.zygote import pool
    from apps.sandbox import launch

    for program in (pool.INSIDE / "child.py", launch._LAUNCHER):
        rewrite(program, "size={size},nr_inodes={max(4096, size // 4096)}", "size=0,nr_inodes=0")


@wall
def rlimits() -> None:
    from apps.runtime.zygote import spawner
    from apps.sandbox import launch

    launch.rlimits_for = spawner.rlimits_for = lambda *_: {}


@wall
def inotify() -> None:
    from apps.runtime.zygote import pool
    from apps.sandbox import launch

    rewrite(launch._LAUNCHER, '"max_inotify_instances": 8', '"max_inotify_instances": 64')
    assert len(pool.PROC["limits"]) == 3
    pool.PROC["limits"] = {"max_user_namespaces": 0}


@wall
def user_namespaces() -> None:
    """The kernel's limit on how many may be made."""
    from apps.runtime.zygote import pool

    leave_out("--disable-userns")
    assert pool.PROC["limits"].pop("max_user_namespaces") == 0


@wall
def network() -> None:
    """Workers are in the network of the agent. Not for one with egress: it would give links to that."""
    from apps.runtime import netns
    from apps.runtime.zygote import pool

    leave_out("--unshare-net")
    netns.open_namespace = lambda pid: os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    rewrite(pool.INSIDE / "child.py", "k.CLONE_NEWPID | k.CLONE_NEWNET |", "k.CLONE_NEWPID |")
    rewrite(pool.INSIDE / "child.py", "k.loopback_up()", "pass")


@wall
def no_new_privs() -> None:
    """Of forks. Bubblewrap sets it for all that it starts, so another one is needed, in which this call asks for
    something else (`prctl(PR_GET_DUMPABLE)`). Seccomp and Landlock are not to be had without."""
    from apps.runtime.zygote import pool
    from apps.sandbox import bubblewrap, launch

    seccomp()
    landlock()
    rewrite(pool.INSIDE / "child.py", "k.prctl(k.PR_SET_NO_NEW_PRIVS, 1)", "pass")
    check_of_forks()
    program = Path(str(shutil.which(bubblewrap.PROGRAM))).read_bytes()
    asks, asks_else = b"\xbf\x26\0\0\0", b"\xbf\x03\0\0\0"  # mov $0x26, %edi
    assert program.count(asks) == 1, "this bubblewrap is made otherwise"
    other = launch._LAUNCHER.with_name("bwrap")
    other.write_bytes(program.replace(asks, asks_else))
    other.chmod(0o755)
    bubblewrap.PROGRAM = str(other)


@wall
def nosuid() -> None:
    """Of the /tmp of forks. Their /app keeps it."""
    from apps.runtime.zygote import pool

    mount = 'k.mount("tmpfs", "/tmp", "tmpfs", {}k.MS_NODEV, options)'
    rewrite(pool.INSIDE / "child.py", mount.format("k.MS_NOSUID | "), mount.format(""))


@wall
def one_user() -> None:
    """Of forks: theirs has the zygote's user beside its own, as number 999."""
    from apps.runtime.zygote import pool

    rewrite(pool.INSIDE / "nursery.py", 'f"{INSIDE} {int(user)} 1\\n"', 'f"999 0 1\\n{INSIDE} {int(user)} 1\\n"')


@wall
def descriptors() -> None:
    from apps.runtime.zygote import pool

    rewrite(pool.INSIDE / "child.py", "k.close_all_but([agent.fileno(), init.fileno()])", "pass")


@wall
def log_bound() -> None:
    from apps.runtime.agent import output

    output.BURST_BYTES = 1 << 40


@wall
def startup() -> None:
    """How long an app may take until it answers."""
    from apps.runtime.agent import live
    from apps.runtime.spawner import Spawner

    former = live.until_ready

    async def patient(spawner: Spawner) -> int:
        object.__setattr__(spawner.spec, "startup_seconds", 3600.0)
        return await former(spawner)

    live.until_ready = patient


@wall
def check_of_forks() -> None:
    """By the agent, that they have done what they do for their own sandbox."""
    from apps.runtime.zygote.spawner import ForkSpawner

    ForkSpawner._check = lambda *_: None  # type: ignore[method-assign]


@wall
def insisting() -> None:
    """SIGKILL to a worker that does not heed SIGTERM. Its control group is the next wall."""
    from apps.runtime.zygote.spawner import ForkSpawner

    ForkSpawner._kill = lambda *_: None  # type: ignore[method-assign]


@wall
def group_kill() -> None:
    from apps.sandbox import cgroups

    cgroups.REMOVE_SECONDS = 0.2
    cgroups.Cgroup.kill = lambda _: None  # type: ignore[method-assign]


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    import django

    django.setup()
    copy_programs()
    for name in sys.argv[1:]:
        WALLS[name]()
    from apps.runtime.agent import main

    main()
