"""Runs a command with a real PostgreSQL and Redis of its own, on free ports, and stops them after it.

python scripts/with_services.py pytest -m services
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.running_portal import free_port


def postgres_program(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    program = str(found[0]) if found else shutil.which(name)
    if program is None:
        sys.exit(f"{name} is missing; install the Debian package postgresql")
    return program


def wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"{process.args} ended with status {process.returncode}")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"{process.args} did not listen within {seconds} s")


def start_postgres(stack: ExitStack, folder: Path) -> str:
    """Start PostgreSQL in `folder` and return its DATABASE_URL. It refuses to run as root, so root lends it
    the account of Debian's package."""
    as_user: dict[str, object] = {}
    if os.getuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    data, port = folder / "data", free_port()
    run = {"cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}, **as_user}
    subprocess.run(
        [postgres_program("initdb"), "-D", str(data), "-U", "portico", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True, stdout=subprocess.DEVNULL, **run,
    )  # fmt: skip
    options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
    process = subprocess.Popen(
        [postgres_program("postgres"), "-D", str(data), "-p", str(port), *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **run,
    )  # fmt: skip
    stack.callback(stop, process)
    wait_for(port, process)
    subprocess.run(
        [postgres_program("createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "portico", "portico"], check=True
    )
    return f"postgres://portico@127.0.0.1:{port}/portico"


def start_redis(stack: ExitStack, folder: Path) -> str:
    port = free_port()
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    stack.callback(stop, process)
    wait_for(port, process)
    return f"redis://127.0.0.1:{port}/0"


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> int:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-services-")))
        root.chmod(0o755)
        postgres, redis = root / "postgres", root / "redis"
        postgres.mkdir()
        redis.mkdir()
        env = {
            **os.environ,
            "DATABASE_URL": start_postgres(stack, postgres),
            "REDIS_URL": start_redis(stack, redis),
        }
        return subprocess.run(sys.argv[1:], env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
