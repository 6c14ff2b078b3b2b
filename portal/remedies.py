"""What an administrator does where something does not hold, by the name of its check."""

from __future__ import annotations

REMEDIES = {
    "database": "Start the database, or correct DATABASE_URL, then restart the portal.",
    "broker": "Start Redis, or correct REDIS_URL. Builds and restarts wait until then; nothing is lost.",
    "agent": "Start it with `manage.py portico agent` (`portico up` starts it too); its log says why it ended.",
    "disk": "Make room where PORTICO_DATA is, and see that the portal's user may write there.",
    "separate domains": "Set PORTICO_SPACES_DOMAIN to a domain that shares no registrable part with the portal's.",
    "bwrap": "Install it: apt-get install bubblewrap.",
    "git": "Install it: apt-get install git.",
    "sandbox": "Run the agent as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1 and "
    "kernel.apparmor_restrict_unprivileged_userns=0. Until then no Space is built or started.",
    "limits": "Run the agent as root, or have systemd delegate a control group to it (Delegate=yes). Until then a "
    "Space can use up this machine's memory and processors.",
    "egress": "Install nftables, iproute2 and passt (apt-get install), and see to a default route; where the agent is "
    "not root, also to a /dev/net/tun that it may open (mode 666). Until then Spaces reach no other machine.",
    "interpreters": "Install a Python from 3.10 to 3.14 with its venv module: apt-get install python3 python3-venv.",
    "landlock": "Boot a kernel with Landlock (5.13 or newer, lsm=landlock). The sandbox holds without it.",
    "seccomp": "Install it: apt-get install libseccomp2. Until then sandboxed code may make every system call.",
    "user": "Run the agent as root: then each Space is a user of its own and wakes by a fork.",
    "storage": "Run the agent as root with loop devices (modprobe loop; in a container, give it /dev/loop-control and "
    "/dev/loop*) and e2fsprogs. Until then Spaces whose hardware keeps files are not started.",
}


def remedy(name: str) -> str:
    """What to do when the check of this name fails; empty where there is no more to say than its detail."""
    return REMEDIES.get(name, "")
