"""The first program of a zygote's sandbox: `nursery.py PYTHON ZYGOTE CONTROL AGENT`.

It starts the zygote with its control socket (the descriptor CONTROL) and then does what the agent says over the socket
AGENT, until that is closed: `PID USER` maps user 1000 of the user namespace of PID to USER, both as numbered here, and
is answered `ok`. The kernel lets nobody do that from further outside, and the zygote itself has no right to.

So workers live on when their zygote dies, and all of it ends when the agent wants or ends.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

import kernel

INSIDE = 1000


def main(python: str, program: str, control: int, agent: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        agent.close()
        with open("/proc/sys/kernel/cap_last_cap") as file:
            kernel.drop_capabilities(int(file.read()))
        os.set_inheritable(control, True)
        os.execv(python, [python, program, str(control)])  # noqa: S606
    os.close(control)
    while message := agent.recv(64):
        pid, user = message.split()
        try:
            for name in ("gid_map", "uid_map"):
                with open(f"/proc/{int(pid)}/{name}", "w") as file:
                    file.write(f"{INSIDE} {int(user)} 1\n")
            agent.send(b"ok")
        except OSError as error:
            agent.send(str(error).encode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), socket.socket(fileno=int(sys.argv[4])))
