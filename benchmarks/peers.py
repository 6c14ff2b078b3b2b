"""What benchmarks stand beside: nginx and configurable-http-proxy, each in front of one upstream, and a demo alone.

python benchmarks/peers.py

On its own it starts each proxy in front of a small nginx and prints what it makes of wrk's requests. nginx is
Debian's (nginx-light); configurable-http-proxy is what JupyterHub ships, pinned in benchmarks/chp/ and installed by npm
into .artifacts/ when first needed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.running_nginx import RunningNginx, pinned  # noqa: E402
from tests.running_portal import ADMIN, RunningPortal, free_port  # noqa: E402

CHP = ROOT / "benchmarks" / "chp"
CHP_INSTALLED = ROOT / ".artifacts" / "chp"

PROXY = """
map $http_upgrade $connection_wanted {{ default upgrade; "" ""; }}
upstream app {{
    server 127.0.0.1:{upstream};
    keepalive 256;
}}
server {{
    listen 127.0.0.1:{port} backlog=1024;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    location / {{
        proxy_pass http://app;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_wanted;
        proxy_request_buffering off;
        proxy_max_temp_file_size 0;
        proxy_read_timeout 1h;
    }}
}}
"""
"""A reverse proxy as nginx's own documentation makes one. Bodies are streamed, so that a large one takes no disk."""


GREETER = """
import gradio as gr

def greet(name):
    return "Hello " + name + "!"

gr.Interface(greet, "text", "text", api_name="predict").launch()
"""
"""A demo's `app.py`, for benchmarks in a browser."""


SETTLE_SECONDS = 0.2
"""After an app goes on: it closes the connections that nobody used for five seconds, and nginx must not use them."""


class Missing(RuntimeError):
    """A peer cannot be had on this machine; the text says what to do."""


@contextlib.contextmanager
def directly(script: Path, *, core: int | None = None) -> Iterator[int]:
    """An app that listens on `$PORT`, without portal and sandbox.

    Yields:
        Its port on 127.0.0.1.
    """
    port = free_port()
    process = subprocess.Popen([*pinned(core), sys.executable, str(script)], env={**os.environ, "PORT": str(port)})
    try:
        if not _answers(f"http://127.0.0.1:{port}/", process):
            raise RuntimeError(f"{script} does not answer at {port}")
        yield port
    finally:
        _stop(process)


@dataclass(frozen=True)
class Alone:
    """A running `python app.py`.

    Attributes:
        port: on 127.0.0.1.
        pid: its process.
    """

    port: int
    pid: int

    @contextlib.contextmanager
    def asked(self) -> Iterator[None]:
        """Have it run meanwhile, and not afterwards: an idle Gradio looks at its queue a thousand times a second."""
        os.kill(self.pid, signal.SIGCONT)
        time.sleep(SETTLE_SECONDS)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGSTOP)


@contextlib.contextmanager
def gradio(python: Path, folder: Path) -> Iterator[Alone]:
    """`python app.py` of a Gradio app, as on its author's laptop.

    Args:
        python: of the Environment in which it runs.
        folder: where `app.py` is.

    Yields:
        It, once it answers.
    """
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GRADIO_SERVER_PORT": str(port),
                   "GRADIO_ANALYTICS_ENABLED": "False"}  # fmt: skip
    process = subprocess.Popen([python, "app.py"], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    try:
        if not _answers(f"http://127.0.0.1:{port}/config", process):
            raise RuntimeError(f"{folder}/app.py does not answer at {port}")
        yield Alone(port, process.pid)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def portal_with_gradio(app: str, **settings: str) -> Iterator[tuple[RunningPortal, Path]]:
    """A portal with a Gradio app at `ada/hello`.

    Args:
        app: text of its `app.py`.
        settings: further ones of the portal.

    Yields:
        The portal, and the folder with the app, for `gradio`.
    """
    with tempfile.TemporaryDirectory(prefix="portico-benchmark-") as name:
        folder, data = Path(name, "app"), Path(name, "data")
        folder.mkdir()
        (folder / "app.py").write_text(app)
        (folder / "README.md").write_text("---\nsdk: gradio\napp_file: app.py\n---\n")
        with RunningPortal(data, PORTICO_ADMIN=":".join(ADMIN), **settings) as portal:
            portal.deploy(folder, "ada/hello")
            yield portal, folder


@contextlib.contextmanager
def nginx(upstream: int, *, core: int | None = None) -> Iterator[str]:
    """nginx as a reverse proxy, one worker process, connections to the upstream kept.

    Args:
        upstream: port of the app on 127.0.0.1.
        core: the processor it is pinned to; any when None.

    Yields:
        Its address, as `http://127.0.0.1:1234`.

    Raises:
        Missing: it is not installed, or does not start.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="portico-nginx-") as folder, contextlib.ExitStack() as stack:
        site = PROXY.format(upstream=upstream, port=port)
        try:
            stack.enter_context(RunningNginx(Path(folder), site, [port], core=core))
        except RuntimeError as error:
            raise Missing(str(error)) from error
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def configurable_http_proxy(upstream: int, *, core: int | None = None) -> Iterator[str]:
    """JupyterHub's proxy, with the upstream as its default target. Arguments, address and errors as for `nginx`."""
    port, api_port = free_port(), free_port()
    argv = [
        *pinned(core), "node", str(_installed_chp()), "--ip", "127.0.0.1", "--port", str(port), "--api-ip", "127.0.0.1",
        "--api-port", str(api_port), "--default-target", f"http://127.0.0.1:{upstream}", "--log-level", "error",
    ]  # fmt: skip
    # It takes any client at its API where this token is missing, and says so.
    environment = {**os.environ, "CONFIGPROXY_AUTH_TOKEN": os.urandom(16).hex(), "NODE_ENV": "production"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
        try:
            if not _answers(f"http://127.0.0.1:{port}/", process):
                log.seek(0)
                raise Missing(f"configurable-http-proxy did not start:\n{log.read().decode(errors='replace')}")
            yield f"http://127.0.0.1:{port}"
        finally:
            _stop(process)


def _installed_chp() -> Path:
    """The program, installed first where the pinned one is not there yet."""
    script = CHP_INSTALLED / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
    lock = CHP / "package-lock.json"
    installed = CHP_INSTALLED / "package-lock.json"
    if script.exists() and installed.read_bytes() == lock.read_bytes():
        return script
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise Missing(f"{tool} is missing; install it with: apt-get install npm")
    CHP_INSTALLED.mkdir(parents=True, exist_ok=True)
    shutil.copy(CHP / "package.json", CHP_INSTALLED)
    shutil.copy(lock, CHP_INSTALLED)
    argv = ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(argv, cwd=CHP_INSTALLED, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0 or not script.exists():
        shutil.rmtree(CHP_INSTALLED)
        raise Missing(f"npm could not install configurable-http-proxy:\n{done.stdout}{done.stderr}")
    return script


def _answers(url: str, process: subprocess.Popen[bytes], seconds: float = 30) -> bool:
    """Whether an answer comes; any will do."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            pass
        except OSError:
            time.sleep(0.005)
            continue
        return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


SMALL = """
server {{
    listen 127.0.0.1:{port} backlog=1024;
    keepalive_requests 1000000000;
    location / {{ default_type text/plain; return 200 "{body}"; }}
}}
"""


def main() -> None:
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing; install the Debian package wrk")
    upstream = free_port()
    site = SMALL.format(port=upstream, body="x" * 2700)
    with (
        tempfile.TemporaryDirectory(prefix="portico-upstream-") as folder,
        RunningNginx(Path(folder), site, [upstream]),
    ):
        print("2,700 bytes an answer, 16 connections, 3 s each; proxies on one core")
        print(f"directly                 {rate(f'http://127.0.0.1:{upstream}'):>9,.0f}/s")
        core = min(os.sched_getaffinity(0))
        for name, peer in (("nginx", nginx), ("configurable-http-proxy", configurable_http_proxy)):
            with peer(upstream, core=core) as url:
                print(f"{name:<24} {rate(url):>9,.0f}/s")


def rate(url: str) -> float:
    """Requests a second."""
    argv = ["wrk", "-t1", "-c16", "-d3s", f"{url}/"]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if found is None or "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"some answers were errors:\n{text}")
    return float(found[1])


if __name__ == "__main__":
    main()
