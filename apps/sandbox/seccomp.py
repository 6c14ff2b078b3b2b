"""The system calls that sandboxed code may make: an allow-list, compiled by libseccomp to a BPF program.

The list is what ordinary programs need: files, memory, threads, processes, signals, sockets, timers. Left out is what
administers a kernel or looks into other processes (mount, module, bpf, keyctl, ptrace, perf, io_uring, userfaultfd,
namespaces), whether or not a capability would stop it too: fewer calls are fewer ways to meet a bug of the kernel.
Sources: seccomp(2), libseccomp's seccomp_rule_add(3), and the default profiles of the container runtimes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from functools import cache
from typing import Any

NAMESPACES = 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x00020000
"""clone(2)'s flags for new cgroup, uts, ipc, user, pid, network and mount namespaces."""
UNIX, INTERNET, NETLINK = 1, (2, 10), 16
"""Socket families. Not vsock, which would reach the hypervisor, nor AF_ALG or packets."""
STREAM, DATAGRAM, TYPE = 1, 2, 0xF
PROTOCOLS = {STREAM: (0, 6), DATAGRAM: (0, 17, 1, 58)}
"""TCP, UDP and ping. For any other the kernel would load a module (SCTP, DCCP, L2TP), old and seldom looked at."""
NETLINK_ROUTE = 0
"""Which addresses there are. The other kinds administer firewalls, audit and the like."""
ZYGOTE = frozenset({"unshare", "mount", "move_mount", "sethostname"})
"""What a zygote needs besides, to make its workers' sandboxes. Each of them gives that up with the list of its own."""

ALLOWED = frozenset(
    """
    accept accept4 access alarm arch_prctl bind brk cachestat capget capset chdir chmod chown clock_getres
    clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create
    epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit exit_group
    faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync
    fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue
    futex_wait futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups
    getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit
    get_robust_list getrusage getsid getsockname getsockopt gettid gettimeofday getuid getxattr inotify_add_watch
    inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit
    ioctl ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr
    link linkat listen listxattr llistxattr lremovexattr lseek lsetxattr lstat madvise membarrier memfd_create mincore
    mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open mq_timedreceive
    mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap nanosleep
    newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect
    poll ppoll prctl pread64 preadv preadv2 prlimit64 pselect6 pwrite64 pwritev pwritev2 read readahead readlink
    readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages removexattr rename renameat renameat2 restart_syscall
    riscv_flush_icache riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam
    sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_setaffinity
    sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile
    sendmmsg sendmsg sendto setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid
    setresuid setreuid setrlimit set_robust_list setsid setsockopt set_tid_address setuid setxattr shmat shmctl shmdt
    shmget shutdown sigaltstack signalfd signalfd4 socketpair splice stat statfs statx symlink symlinkat sync
    sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
    timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat
    utime utimensat utimes vfork vmsplice wait4 waitid write writev
    """.split()  # noqa: SIM905 a list to be read
)
REFUSED = frozenset(
    """
    acct add_key adjtimex bpf chroot clock_adjtime clock_settime delete_module fanotify_init finit_module fsconfig
    fsmount fsopen fspick get_mempolicy init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp
    kexec_file_load kexec_load keyctl lookup_dcookie mbind migrate_pages mount mount_setattr move_mount move_pages
    name_to_handle_at open_by_handle_at open_tree perf_event_open personality pidfd_getfd pivot_root process_madvise
    process_vm_readv process_vm_writev ptrace quotactl quotactl_fd reboot request_key set_mempolicy setdomainname
    sethostname setns settimeofday swapoff swapon syslog umount2 unshare userfaultfd vhangup
    """.split()  # noqa: SIM905 a list to be read
)
"""Answered with EPERM, as a program expects that may not; what is in neither list is answered with ENOSYS, so that
a C library newer than this list falls back to what it used before."""


@cache
def program(*, for_zygote: bool = False) -> bytes | None:
    """The BPF program, an array of `struct sock_filter`. None where libseccomp is missing or refuses."""
    permitted = ALLOWED | ZYGOTE if for_zygote else ALLOWED
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError):
        return None
    try:
        rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.ENOSYS))
        for name in sorted(permitted):
            _add(rules, pyseccomp.ALLOW, name)
        for name in sorted(REFUSED - permitted):
            _add(rules, pyseccomp.ERRNO(errno.EPERM), name)
        # clone3 keeps its flags in memory, where no filter sees them; C libraries fall back to clone.
        rules.add_rule(pyseccomp.ALLOW, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, NAMESPACES, 0))
        for arguments in _sockets():
            rules.add_rule(pyseccomp.ALLOW, "socket", *arguments)
        with os.fdopen(os.memfd_create("seccomp"), "w+b") as file:
            rules.export_bpf(file)
            file.seek(0)
            return file.read()
    except (OSError, RuntimeError, ValueError):
        return None


def _sockets() -> Iterator[list[Any]]:
    """The arguments of socket(2) that are allowed."""
    import pyseccomp as p

    yield [p.Arg(0, p.EQ, UNIX)]
    yield [p.Arg(0, p.EQ, NETLINK), p.Arg(2, p.EQ, NETLINK_ROUTE)]
    for family in INTERNET:
        for kind, protocols in PROTOCOLS.items():
            for protocol in protocols:
                yield [p.Arg(0, p.EQ, family), p.Arg(1, p.MASKED_EQ, TYPE, kind), p.Arg(2, p.EQ, protocol)]


def _add(rules: object, action: int, name: str) -> None:
    """Add a rule for a call, unless this machine's kernel interface or libseccomp does not know its name."""
    import pyseccomp

    try:
        known = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) >= 0
    except (OSError, ValueError):
        known = False
    if known:
        rules.add_rule(action, name)  # type: ignore[attr-defined]
