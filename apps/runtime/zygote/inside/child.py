"""From a fork of the zygote to the demo's own code, in the child.

    zygote --fork--> outer: joins control groups, new namespaces --fork--> init (pid 1) --fork--> the app
                       |                                                     |                      |
                       +--> ends                     reaps, tells how the app ended        mounts, no rights left

Messages to the agent, over the birth's socket: `{"at": "outside"}` from init once the namespaces are there. Here both
may wait for long: they were born ahead, for a Space that is still to come. When one does, the agent has its user mapped
and sends its plan, its output, its files and what it keeps, if anything. Then `{"at": "inside"}` from the app, at the
end of its rights and of init's, `{"exit": n}` or `{"signal": n}` from init, or `{"error": text}`. The kernel adds the
sender's process id to each (SCM_CREDENTIALS).
"""

from __future__ import annotations

import contextlib
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
READY = b"ready"
READ_ONLY = k.MS_RDONLY | k.MS_NOSUID | k.MS_NODEV | k.MS_NOEXEC
ALL = (
    k.CLONE_NEWUSER | k.CLONE_NEWNS | k.CLONE_NEWPID | k.CLONE_NEWNET | k.CLONE_NEWIPC | k.CLONE_NEWUTS
    | k.CLONE_NEWCGROUP
)  # fmt: skip


def born(descriptors: list[int], proc: dict[str, Any]) -> None:
    """Become a worker. Returns in the app's process alone, after the app has ended by itself without an exception.

    Args:
        descriptors: the birth's socket and those of its control groups.
        proc: of /proc, what is `read_only`, what is `hidden`, and the `limits` of its user namespace, by their names in
            /proc/sys/user.
    """
    agent = socket.socket(fileno=descriptors[0])
    try:
        for group in descriptors[1:]:
            os.write(group, b"0")
            os.close(group)
        k.unshare(ALL)
        if os.fork():
            os._exit(0)
        os.setsid()
        init, app = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Here already: a fork of this size takes milliseconds, and what follows waits for a Space.
        child = os.fork()
        if child:
            app.close()
            _be_init(agent, init, child)
        init.close()
        _prepare(**proc)
        app.send(READY)
        message, given, _, _ = socket.recv_fds(agent, 16, 4)
        if message != b"mapped":
            os._exit(0)
        plan = _read_plan(given[0])
        _enter(plan, given[1], given[2:], agent, app)
    except BaseException as error:
        _tell(agent, {"error": f"{type(error).__name__}: {error}"})
        os._exit(1)
    agent.close()
    app.close()
    _run(plan)


def _tell(agent: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # it has ended, or wants this one no more
        agent.send(json.dumps(message).encode())


def _read_plan(descriptor: int) -> dict[str, Any]:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        plan: dict[str, Any] = json.load(file)
        return plan


def _prepare(read_only: list[str], hidden: list[str], limits: dict[str, int]) -> None:
    """Whatever of the sandbox is the same for every Space."""
    k.mount("none", "/", "", k.MS_REC | k.MS_PRIVATE)
    k.mount("devpts", "/dev/pts", "devpts", k.MS_NOSUID | k.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    k.mount("proc", "/proc", "proc", k.MS_NOSUID | k.MS_NODEV | k.MS_NOEXEC)
    for name, value in limits.items():
        if os.path.exists(f"/proc/sys/user/{name}"):
            with open(f"/proc/sys/user/{name}", "w") as file:
                file.write(str(value))
    for path in _there(read_only):
        k.mount(path, path, "", k.MS_BIND)
        k.mount("none", path, "", k.MS_REMOUNT | k.MS_BIND | READ_ONLY)
    for path in _there(hidden):
        if os.path.isdir(path):
            k.mount("tmpfs", path, "tmpfs", READ_ONLY, "size=4k,nr_inodes=2")
        else:
            k.mount("/dev/null", path, "", k.MS_BIND)
    k.set_hostname("space")
    k.loopback_up()


def _there(names: list[str]) -> list[str]:
    return [path for path in (f"/proc/{name}" for name in names) if os.path.exists(path)]


def _enter(plan: dict[str, Any], output: int, trees: list[int], agent: socket.socket, init: socket.socket) -> None:
    """Everything but the app's own code: this process and init have every right in their namespaces, and none at the
    end."""
    init.send(json.dumps({"uid": plan["uid"], "seccomp": plan["seccomp"]}).encode())
    _become(plan["uid"])
    _mounts(plan, *trees)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    k.close_all_but([agent.fileno(), init.fileno()])
    for name, value in plan["rlimits"].items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, limit))
    _give_up_rights(_last_capability(), plan["seccomp"])
    os.umask(0o022)
    if init.recv(16) != READY:
        raise OSError("pid 1 has ended")
    _tell(agent, {"at": "inside"})


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _last_capability() -> int:
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return int(file.read())


def _give_up_rights(last: int, rules: str) -> None:
    k.prctl(k.PR_SET_NO_NEW_PRIVS, 1)
    k.drop_capabilities(last)
    if rules:
        k.load_seccomp(bytes.fromhex(rules))


def _mounts(plan: dict[str, Any], files: int, kept: int | None = None) -> None:
    """The worker's own folders, all on one tmpfs of bounded size but for what it keeps."""
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
    k.mount(f"{LAYERS}/tmp", "/tmp", "", k.MS_BIND)


def _be_init(agent: socket.socket, words: socket.socket, app: int) -> None:
    """Tell the agent when the app is ready for a Space, give up all rights when that has one, wait for it, adopt and
    bury what it leaves, pass SIGTERM on. Its end is the end of everything here."""

    def pass_on(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(app, number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    k.close_all_but([agent.fileno(), words.fileno()])
    last = _last_capability()
    if words.recv(16) == READY:
        _tell(agent, {"at": "outside"})
    if order := words.recv(65536):
        plan = json.loads(order)
        _become(plan["uid"])
        _give_up_rights(last, plan["seccomp"])
        words.send(READY)
    words.close()
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
