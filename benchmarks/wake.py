"""How long a sleeping hello world takes to wake, what it weighs, and how many fit, beside `python app.py`.

python benchmarks/wake.py [--awake 400] [--seconds 30]

As root, on loopback alone. Starts a portal in a temporary data folder, builds one Gradio Environment, and gives it to
many Spaces. All figures of one table come from one run: medians of ten. Ratios travel between machines.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import peers  # noqa: E402
from tests.running_portal import ADMIN, RunningPortal  # noqa: E402

APP = """import gradio as gr


def greet(name):
    return f"Hello {name}!"


gr.Interface(greet, "text", "text").launch()
"""
TIMES = 10
PAUSE_SECONDS = 1.0
"""Between two wakes of one Space: visitors of a sleeping Space do not come twice a second."""


class Bench:
    """A portal with one built Space, and what is done to it."""

    def __init__(self, portal: RunningPortal) -> None:
        self.portal = portal
        os.environ |= {name: portal.environment[name] for name in portal.environment if name.startswith("PORTICO_")}
        os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"
        import django

        django.setup()

    def copies(self, count: int, name: str) -> list[Any]:
        """`count` more Spaces with the files and the Environment of the first, asleep."""
        from apps.accounts.models import User
        from apps.builds.models import Build, Deployment
        from apps.runtime.selectors import deployment_folder
        from apps.spaces.models import Space, Stage
        from apps.spaces.services import create_space

        first = Deployment.objects.get(space__name="hello", is_current=True)
        ada = User.objects.get(username="ada")
        made = []
        for number in range(count):
            space = create_space(ada.namespace, f"{name}{number}", user=ada)
            build = Build.objects.create(space=space, revision=first.revision, state=Build.State.SUCCEEDED)
            deployment = Deployment.objects.create(
                space=space, build=build, revision=first.revision, environment=first.environment, sdk=first.sdk,
                app_file=first.app_file, startup_seconds=first.startup_seconds,
            )  # fmt: skip
            shutil.copytree(deployment_folder(first.pk), deployment_folder(deployment.pk))
            Space.objects.filter(pk=space.pk).update(stage=Stage.SLEEPING)
            made.append(space)
        return made

    def visit(self, space: Any) -> float:
        """Seconds from the request to the first byte of the demo's own page."""
        began = time.perf_counter()
        # With a query, so that the worker answers and not the snapshot of its page.
        status, body = self.portal.get(
            "/config?by=worker", host=f"{space.subdomain}.spaces.localhost:{self.portal.port}"
        )
        assert (status, b"components" in body) == (200, True), (status, body[:300])
        return time.perf_counter() - began

    def sleep(self, *spaces: Any) -> None:
        from apps.runtime import client
        from apps.spaces.services import sleep_space

        for space in spaces:
            sleep_space(space)
            asyncio.run(client.stop_worker(space.pk))

    def wakes(self, space: Any) -> list[float]:
        found = []
        for _ in range(TIMES):
            self.sleep(space)
            time.sleep(PAUSE_SECONDS)
            found.append(self.visit(space))
        return found

    def private_mb(self, space: Any) -> float:
        """Private memory of a worker's processes, its init included."""
        from apps.runtime.models import Worker

        row = Worker.objects.filter(space=space, state=Worker.State.READY).get()
        init = int(row.spawner_state["pid"])
        return sum(private_mb(pid) for pid in [init, *below(init)])

    def way(self, space: Any) -> str:
        from apps.runtime.models import Worker

        return str(Worker.objects.filter(space=space).latest("started_at").spawner_state["way"])


def below(pid: int) -> list[int]:
    children = [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [grandchild for child in children for grandchild in below(child)]


def private_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1000


def alone(python: Path, folder: Path) -> tuple[list[float], float]:
    """`python app.py`: seconds to its first answer, and its private memory in MB."""
    found, memory = [], 0.0
    for _ in range(TIMES):
        began = time.perf_counter()
        with peers.gradio(python, folder) as running:
            found.append(time.perf_counter() - began)
            memory = private_mb(running.pid)
    return found, memory


def uploads(portal: RunningPortal, folder: Path) -> list[float]:
    """As the page for a new Space does it: seconds from the first byte of the upload until the Space says RUNNING."""
    found = []
    with httpx.Client(base_url=portal.url, follow_redirects=True, timeout=60) as browser:
        browser.get("/accounts/login/")
        sent = {"login": ADMIN[0], "password": ADMIN[1], "csrfmiddlewaretoken": browser.cookies["portico_csrf"]}
        browser.post("/accounts/login/", data=sent).raise_for_status()
        token = browser.cookies["portico_csrf"]
        headers = {"X-CSRFToken": token}
        for number in range(TIMES):
            began = time.perf_counter()
            upload = browser.post("/uploads", headers=headers).raise_for_status().json()["id"]
            for path in folder.iterdir():
                browser.put(f"/uploads/{upload}/files/{path.name}", headers=headers, content=path.read_bytes())
            sent = {"name": f"uploaded{number}", "sdk": "gradio", "visibility": "public", "upload": upload,
                    "csrfmiddlewaretoken": token}  # fmt: skip
            answer = browser.post("/new-space", data=sent, follow_redirects=False)
            assert answer.status_code == 302, answer.text[:2000]
            runtime = f"/api/spaces/{ADMIN[0]}/uploaded{number}/runtime"
            while (stage := browser.get(runtime).json()["stage"]) != "RUNNING":
                assert stage in {"BUILDING", "APP_STARTING"}, stage
                time.sleep(0.02)
            found.append(time.perf_counter() - began)
    return found


def row(name: str, value: float, unit: str, against: str = "") -> None:
    print(f"{name:58}{value:>10.3g} {unit:<5}{against}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--awake", type=int, default=400, help="how many to have awake at once")
    options.add_argument("--seconds", type=float, default=30, help="how long to wake different Spaces")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "app")
        folder.mkdir()
        (folder / "app.py").write_text(APP)
        settings = {"PORTICO_ADMIN": ":".join(ADMIN), "PORTICO_MAX_SPACES_PER_OWNER": "100000"}
        with RunningPortal(Path(scratch, "data"), **settings) as portal:
            portal.deploy(folder, "ada/hello")
            run(Bench(portal), folder, given.awake, given.seconds)


def run(bench: Bench, folder: Path, awake: int, seconds: float) -> None:
    from apps.spaces.models import Space, SpaceVariable

    row("upload to RUNNING, Environment cached", statistics.median(uploads(bench.portal, folder)), "s")
    bench.sleep(*Space.objects.all())
    direct, direct_mb = alone(bench.portal.python, folder)
    forked, fresh = bench.copies(2, "one")
    SpaceVariable.objects.create(space=fresh, key="GRADIO_ALLOWED_PATHS", value="/nowhere")
    bench.visit(forked)
    quick, slow = bench.wakes(forked), bench.wakes(fresh)
    assert (bench.way(forked), bench.way(fresh)) == ("fork", "fresh")
    base = statistics.median(direct)
    row("python app.py, to its first answer", base, "s")
    row("bubblewrap + python app.py, through the gateway", statistics.median(slow), "s",
        f"{base / statistics.median(slow):.1f} times as fast")  # fmt: skip
    row("wake by fork, through the gateway", statistics.median(quick), "s",
        f"{base / statistics.median(quick):.1f} times as fast; slowest {max(quick):.3f} s")  # fmt: skip
    row("python app.py, private memory", direct_mb, "MB")
    used = bench.private_mb(forked)
    row("a fork's private memory, its init included", used, "MB", f"{direct_mb / used:.1f} times less")
    spaces = bench.copies(max(awake, int(seconds * 30)), "many")
    bench.sleep(forked, fresh)
    sustained(bench, spaces, seconds)
    together(bench, spaces[:awake], statistics.median(quick))


def sustained(bench: Bench, spaces: list[Any], seconds: float) -> None:
    began, woken = time.perf_counter(), 0
    todo = iter(spaces)

    def one(_: int) -> int:
        count = 0
        while time.perf_counter() - began < seconds and (space := next(todo, None)) is not None:
            bench.visit(space)
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        woken = sum(pool.map(one, range(4)))
    row(f"wakes a second, different Spaces, over {seconds:g} s", woken / (time.perf_counter() - began), "/s")


def together(bench: Bench, spaces: list[Any], one: float) -> None:
    for space in spaces:
        bench.visit(space)
    last = bench.wakes(spaces[0])
    answering = sum(1 for space in spaces if bench.visit(space) < 10)
    row(f"awake at once, all answering (of {len(spaces)})", answering, "")
    median = statistics.median(last)
    row("a wake among them", median, "s", f"{median / one:.1f} times a wake alone")
    available = next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvailable" in line)
    row("memory of this machine still free", int(available.split()[1]) / 1e6, "GB")


if __name__ == "__main__":
    main()
