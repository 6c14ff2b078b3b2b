"""What a sandboxed process may see and do, and the bubblewrap arguments that make it so.

Every sandbox has its own user, mount, pid, ipc, uts and cgroup namespaces, and a network namespace unless it
shares the host's. Its root is a private tmpfs that ends read-only: `/usr`, a few files of `/etc`, and what
`read_only` and `writable` name. Nothing else of the host is there: no other process, no environment
variable, no file descriptor. Inside, it is user 1000 without capabilities, and cannot gain any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROGRAM = "bwrap"
HOME = "/home/user"
APP = "/app"
DATA = "/data"
ENVIRONMENT = "/opt/environment"
USER_ID = 1000
SCRATCH = ("/tmp", HOME, "/dev/shm")  # noqa: S108 paths inside the sandbox
PATH = f"{ENVIRONMENT}/bin:/usr/local/bin:/usr/bin:/bin"

OWN_ETC = Path(__file__).parent / "etc"
_HOST_ETC = (
    # Only what is public: the rest of /etc/ssl or /etc/pki may hold private keys.
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates/extracted",
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/protocols",
    "/etc/services",
)
# Where root runs bubblewrap, the process inside is root to the files of /proc, capabilities or not: /proc/sys alone
# (core_pattern) would let it out. bubblewrap covers only a part of it, so the rest is covered here.
READ_ONLY_PROC = ("bus", "fs", "irq", "pressure", "sys", "sysrq-trigger")
HIDDEN_FILES = (
    "kcore",
    "keys",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "sched_debug",
    "timer_list",
)
HIDDEN_FOLDERS = ("acpi", "asound", "driver", "dynamic_debug", "scsi")


@dataclass(frozen=True)
class Sandbox:
    """What one sandboxed process sees. Immutable; `arguments` turns it into bubblewrap's options.

    Attributes:
        environment: the whole environment of the process; nothing is inherited.
        read_only: (path on the host, path inside) pairs.
        writable: likewise, mounted read-write.
        working_folder: where the process starts, a path inside.
        share_net: use the host's network instead of an empty namespace of its own.
        hostname: as the process sees it.
        for_zygote: it makes sandboxes within itself: it is user 0 of the user namespace that it is started in, may
            change users in it, sees all of its own /proc, and may make further user namespaces.
        etc: the folder of the portal's own files for `/etc`, on the host.
        scratch_bytes: size of each of `/tmp`, the home folder and `/dev/shm`, kept in memory, unless `writable`
            mounts something there.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    read_only: tuple[tuple[Path, str], ...] = ()
    writable: tuple[tuple[Path, str], ...] = ()
    working_folder: str = "/"
    share_net: bool = False
    hostname: str = "space"
    for_zygote: bool = False
    etc: Path = OWN_ETC
    scratch_bytes: int = 256 * 1024**2

    def arguments(self) -> list[str]:
        """bubblewrap's options. They hold the environment, secrets included: hand them over with `--args`, never
        on a command line, which every user of the host can read."""
        return [
            *self._namespaces(),
            *self._system(),
            *self._scratch(),
            *(a for source, target in self.read_only for a in ("--ro-bind", str(source), target)),
            *(a for source, target in self.writable for a in ("--bind", str(source), target)),
            *("--remount-ro", "/dev"),
            *("--remount-ro", "/"),
            *("--chdir", self.working_folder),
            "--clearenv",
            *(a for name, value in sorted(self.environment.items()) for a in ("--setenv", name, value)),
        ]

    def _namespaces(self) -> Iterator[str]:
        yield from ("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
        if not self.share_net:
            yield "--unshare-net"
        yield from ("--cap-drop", "ALL", "--new-session", "--die-with-parent", "--hostname", self.hostname)
        if self.for_zygote:
            # For its first program alone, which gives workers their users (apps/runtime/zygote/inside/nursery.py).
            for name in ("SETUID", "SETGID", "SETPCAP"):
                yield from ("--cap-add", f"CAP_{name}")
        else:
            yield from ("--unshare-user", "--disable-userns", "--uid", str(USER_ID), "--gid", str(USER_ID))

    def _system(self) -> Iterator[str]:
        yield from ("--ro-bind", "/usr", "/usr")
        for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            folder = Path("/") / name
            if folder.is_symlink():
                yield from ("--symlink", f"usr/{name}", f"/{name}")
            elif folder.is_dir():
                yield from ("--ro-bind", f"/{name}", f"/{name}")
        if self.for_zygote:
            # Its workers are other users than it is, and look things up here.
            there = [path for path in _HOST_ETC if Path(path).exists()]
            for place in sorted({str(parent) for path in there for parent in Path(path).parents} - {"/"}):
                yield from ("--perms", "0755", "--dir", place)
        for path in _HOST_ETC:
            if Path(path).exists():
                yield from ("--ro-bind", str(Path(path).resolve()), path)
        for own in sorted(OWN_ETC.iterdir()):
            yield from ("--ro-bind", str(self.etc / own.name), f"/etc/{own.name}")
        if self.share_net:
            yield from ("--ro-bind-try", str(Path("/etc/resolv.conf").resolve()), "/etc/resolv.conf")
        yield from ("--proc", "/proc", "--dev", "/dev")
        if self.for_zygote:
            # Its workers are other users than it is, and must find what is mounted for them.
            above = {str(p) for _, target in self.read_only for p in Path(target).parents}
            for place in sorted((above | {"/home", "/mnt", APP}) - {"/", "/usr"}):
                yield from ("--perms", "0755", "--dir", place)
            # Leads nowhere but in workers that keep something: others see no such folder, as `os.path.exists` says.
            yield from ("--symlink", "mnt/data", DATA)
            return
        for name in READ_ONLY_PROC:
            if Path("/proc", name).exists():
                yield from ("--ro-bind", f"/proc/{name}", f"/proc/{name}")
        for name in HIDDEN_FILES:
            if Path("/proc", name).exists():
                yield from ("--ro-bind", "/dev/null", f"/proc/{name}")
        for name in HIDDEN_FOLDERS:
            if Path("/proc", name).is_dir():
                yield from ("--tmpfs", f"/proc/{name}", "--remount-ro", f"/proc/{name}")

    def _scratch(self) -> Iterator[str]:
        given = {target for _, target in self.writable}
        for target in SCRATCH:
            if target not in given:
                yield from ("--perms", "0700", "--size", str(self.scratch_bytes), "--tmpfs", target)
