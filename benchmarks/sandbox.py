"""What a worker's sandbox costs at its start, beside a process without one.

python benchmarks/sandbox.py [PYTHON]

As root. PYTHON is an interpreter with Gradio installed, an Environment's: its zygote is as large as a real one. Without
it, a portal in a temporary data folder builds one. Medians of ten, in one run; the app does nothing, so that what is
timed is the way to its first line.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

import django  # noqa: E402

django.setup()

from apps.runtime import sdks  # noqa: E402
from apps.runtime.spawner import BubblewrapSpawner, Spawner, WorkerSpec  # noqa: E402
from apps.runtime.zygote.pool import SPARE_SECONDS, Pool  # noqa: E402
from apps.runtime.zygote.spawner import ForkSpawner  # noqa: E402
from apps.sandbox import cgroups  # noqa: E402
from apps.sandbox.bubblewrap import ENVIRONMENT  # noqa: E402
from apps.sandbox.cgroups import Limits  # noqa: E402
from apps.sandbox.egress.node import Egress  # noqa: E402
from apps.sandbox.interpreters import probe  # noqa: E402
from tests.running_portal import RunningPortal  # noqa: E402

TIMES = 10
APP = "import os\nos.write(1, b'here')\nimport time\ntime.sleep(60)\n"
LIMITS = Limits(memory_bytes=2 * 1024**3, processes=256, cpus=2.0, disk_bytes=1024**3)


async def to_first_line(start: Callable[[int], Awaitable[None]]) -> float:
    """Milliseconds from the decision to the app's own first line."""
    out, into = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(out, False)
    arrived = asyncio.Event()
    asyncio.get_running_loop().add_reader(out, arrived.set)
    began = time.perf_counter()
    await start(into)
    await asyncio.wait_for(arrived.wait(), 30)
    took = (time.perf_counter() - began) * 1000
    asyncio.get_running_loop().remove_reader(out)
    os.close(out)
    os.close(into)
    return took


async def measure(make: Callable[[WorkerSpec], Spawner], spec: WorkerSpec) -> float:
    found = []
    for _ in range(TIMES):
        await asyncio.sleep(SPARE_SECONDS * 2)
        spawner = make(spec)
        found.append(await to_first_line(spawner.start))
        await spawner.stop(0)
    return statistics.median(found)


async def bare(command: list[str], folder: Path) -> float:
    processes: list[subprocess.Popen[bytes]] = []

    async def start(output: int) -> None:
        processes.append(subprocess.Popen(command, cwd=folder, stdout=output))  # noqa: ASYNC220 this is what is timed

    found = []
    for _ in range(TIMES):
        found.append(await to_first_line(start))
        processes[-1].kill()
        processes[-1].wait()
    return statistics.median(found)


def built(scratch: Path) -> Path:
    """The interpreter of an Environment with Gradio, built in `scratch`."""
    folder = scratch / "app"
    folder.mkdir()
    (folder / "app.py").write_text('import gradio as gr\n\ngr.Interface(str.title, "text", "text").launch()\n')
    with RunningPortal(scratch / "data", PORTICO_ADMIN="ada:correct-horse-battery") as portal:
        portal.deploy(folder, "ada/hello")
    return portal.python


async def main(environment: Path) -> None:
    interpreter = probe(environment / "bin" / "python")
    assert interpreter is not None
    hierarchy = cgroups.find(f"portico-bench-{os.getpid()}")
    with tempfile.TemporaryDirectory() as folder:
        scratch, app = Path(folder, "scratch"), Path(folder, "app")
        for made in (Path(folder), scratch, app):
            made.mkdir(exist_ok=True)
            made.chmod(0o755)
        (app / "app.py").write_text(APP)
        spec = WorkerSpec(
            worker_id=uuid.uuid4(), space_id=1, deployment_folder=app, environment_folder=environment,
            interpreter=interpreter, argv=(f"{ENVIRONMENT}/bin/python", "app.py"),
            environment=sdks.zygote_environment(), port=7860, health_path="/", limits=LIMITS, startup_seconds=60,
        )  # fmt: skip
        pool = Pool(hierarchy, scratch, Egress(wanted=False), lambda _: asyncio.sleep(0, frozenset()))
        try:
            zygote = await pool.get(environment, interpreter, sdks.zygote_environment())
            python = await bare([str(environment / "bin" / "python"), "app.py"], app)
            forked = await measure(lambda spec: ForkSpawner(spec, hierarchy, zygote), spec)
            fresh = await measure(lambda spec: BubblewrapSpawner(spec, hierarchy, scratch, pool.egress), spec)
        finally:
            await pool.end()
            hierarchy.remove()
    print("from the decision to the app's first line, in ms")
    print(f"{'python, no sandbox':44}{python:8.1f}")
    print(f"{'bubblewrap + python':44}{fresh:8.1f}   the sandbox: {fresh - python:.1f}")
    print(f"{'fork of a Gradio zygote, all of it the sandbox':44}{forked:8.1f}   {python / forked:.1f} times as fast")


if __name__ == "__main__":
    if len(sys.argv) > 2 or os.geteuid() != 0:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        python = Path(sys.argv[1]).absolute() if len(sys.argv) == 2 else built(Path(scratch))
        asyncio.run(main(python.parent.parent))
