"""From a fork of the zygote to the demo's own code, in the child.

    zygote --fork--> outer: joins control groups, new namespaces --fork--> init (pid 1): mounts, no rights left
                       |                                                     |--fork--> the app
                       +--> ends                                             +--> reaps, tells how the app ended

Messages to the agent, over the birth's socket: `{"at": "outside"}` from init once the namespaces are there. Here it
may wait for long: it was born ahead, for a Space that is still to come. When one does, the agent has its user mapped
and sends its plan, its output, its files and what it keeps, if anything. Then `{"at": "inside"}` from init,
`{"exit": n}` or `{"signal": n}`, or `{"error": text}`. The kernel adds the sender's process id to each
(SCM_CREDENTIALS).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
from typing import Any

import kernel as k
import landlock
import main_module

LAYERS = "/tmp/.layers"
ALL = (
    k.CLONE_NEWUSER | k.CLONE_NEWNS | k.CLONE_NEWPID | k.CLONE_NEWNET | k.CLONE_NEWIPC | k.CLONE_NEWUTS
    | k.CLONE_NEWCGROUP
)  # fmt: skip


def born(descriptors: list[int]) -> None:
    """Become a worker. Returns in the app's process alone, after the app has ended by itself without an exception."""
    agent = socket.socket(fileno=descriptors[0])
    try:
        for group in descriptors[1:]:
            os.write(group, b"0")
            os.close(group)
        k.unshare(ALL)
        if os.fork():  # here already: a fork of this size takes milliseconds, and what follows waits for a Space
            os._exit(0)
        _tell(agent, {"at": "outside"})
        message, given, _, _ = socket.recv_fds(agent, 16, 4)
        if message != b"mapped":
            os._exit(0)
        plan = _read_plan(given[0])
        _enter(plan, given[1], given[2:], agent)
        app = os.fork()
    except BaseException as error:
        _tell(agent, {"error": f"{type(error).__name__}: {error}"})
        os._exit(1)
    if app:
        _be_init(agent, app)
    agent.close()
    _run(plan)


def _tell(agent: socket.socket, message: dict[str, Any]) -> None:
    agent.send(json.dumps(message).encode())


def _read_plan(descriptor: int) -> dict[str, Any]:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        plan: dict[str, Any] = json.load(file)
        return plan


def _enter(plan: dict[str, Any], output: int, trees: list[int], agent: socket.socket) -> None:
    """Everything but the app's own code: this process is pid 1 of the new namespaces and has every right in them, and
    none at the end."""
    os.setsid()
    os.setgroups([])
    os.setresgid(plan["uid"], plan["uid"], plan["uid"])
    os.setresuid(plan["uid"], plan["uid"], plan["uid"])
    _mounts(plan, *trees)
    k.set_hostname("space")
    k.loopback_up()
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    k.close_all_but([agent.fileno()])
    for name, value in plan["rlimits"].items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, limit))
    for name, value in {"max_user_namespaces": 0, **plan["inotify"]}.items():
        if os.path.exists(f"/proc/sys/user/{name}"):
            with open(f"/proc/sys/user/{name}", "w") as file:
                file.write(str(value))
    last = int(open("/proc/sys/kernel/cap_last_cap").read())
    for name in plan["hidden"]:
        _hide(name)
    k.prctl(k.PR_SET_NO_NEW_PRIVS, 1)
    k.drop_capabilities(last)
    k.load_seccomp(bytes.fromhex(plan["seccomp"])) if plan["seccomp"] else None
    os.umask(0o022)
    _tell(agent, {"at": "inside"})


def _mounts(plan: dict[str, Any], files: int, kept: int | None = None) -> None:
    """The worker's own folders, all on one tmpfs of bounded size but for what it keeps, and its own /proc."""
    k.mount("none", "/", "", k.MS_REC | k.MS_PRIVATE)
    size = plan["disk_bytes"]
    options = f"size={size},nr_inodes={max(4096, size // 4096)},mode=0700"
    k.mount("tmpfs", "/tmp", "tmpfs", k.MS_NOSUID | k.MS_NODEV, options)
    for name in ("", "/lower", "/upper", "/work", "/tmp", "/home", "/shm"):
        os.mkdir(LAYERS + name, 0o700 if name else 0o755)
    os.chmod(f"{LAYERS}/upper", 0o755)
    k.attach(files, f"{LAYERS}/lower")
    layers = f"lowerdir={LAYERS}/lower,upperdir={LAYERS}/upper,workdir={LAYERS}/work,userxattr"
    k.mount("overlay", "/app", "overlay", k.MS_NOSUID | k.MS_NODEV, layers)
    k.mount(f"{LAYERS}/home", "/home/user", "", k.MS_BIND)
    k.mount(f"{LAYERS}/shm", "/dev/shm", "", k.MS_BIND)
    if kept is not None:
        os.makedirs(f"{LAYERS}/mnt/data")
        k.mount(f"{LAYERS}/mnt", "/mnt", "", k.MS_BIND)
        k.mount("none", "/mnt", "", k.MS_REMOUNT | k.MS_BIND | k.MS_RDONLY | k.MS_NOSUID | k.MS_NODEV)
        k.attach(kept, "/mnt/data")  # /data leads there
    k.mount("devpts", "/dev/pts", "devpts", k.MS_NOSUID | k.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    k.mount("proc", "/proc", "proc", k.MS_NOSUID | k.MS_NODEV | k.MS_NOEXEC)
    k.mount(f"{LAYERS}/tmp", "/tmp", "", k.MS_BIND)


def _hide(name: str) -> None:
    """Cover what of /proc is about the whole machine; it would be refused to this user anyway."""
    path = f"/proc/{name}"
    if not os.path.exists(path):
        return
    if os.path.isdir(path):
        k.mount(path, path, "", k.MS_BIND)
        k.mount("none", path, "", k.MS_REMOUNT | k.MS_BIND | k.MS_RDONLY | k.MS_NOSUID | k.MS_NODEV | k.MS_NOEXEC)
    else:
        k.mount("/dev/null", path, "", k.MS_BIND)


def _be_init(agent: socket.socket, app: int) -> None:
    """Wait for the app, adopt and bury what it leaves, pass SIGTERM on. Its end is the end of everything here."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(app, signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        if pid == app:
            break
    if os.WIFSIGNALED(status):
        _tell(agent, {"signal": os.WTERMSIG(status)})
    else:
        _tell(agent, {"exit": os.WEXITSTATUS(status)})
    os._exit(0)


def _run(plan: dict[str, Any]) -> None:
    """Be `python <arguments>` in `/app`."""
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(plan["environment"])
    os.chdir("/app")
    # After pid 1 was left behind, so that even that is out of the app's reach.
    landlock.restrict(plan["writable"])
    # As it is after exec: its own files of /proc are its own.
    k.prctl(k.PR_SET_DUMPABLE, 1)
    plan["environment"].clear()
    main_module.run(plan["argv"])
