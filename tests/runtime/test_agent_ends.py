"""What is left when the agent ends, and what a new one makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

from apps.runtime.client import api_path, sockets_path
from apps.runtime.models import Worker
from apps.spaces.models import Space, Stage
from tests.running_agent import (
    AGENT,
    HELLO,
    ROOT,
    RunningAgent,
    ensure,
    fetch,
    processes_mentioning,
    sleeping_space,
    stage_of,
    wait_for_stage,
)
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


def marked(text: str = HELLO) -> tuple[Space, str]:
    """A Space whose processes can be told by their command line."""
    name = f"marked_{Path(settings.PORTICO_DATA).name.replace('-', '_')}.py"
    child = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000) # {name}'])\n"
    )
    return sleeping_space({name: child + text}, app_file=name), name


def cgroups() -> list[Path]:
    """Of either version; an ordinary user's agent has none."""
    root, name = Path("/sys/fs/cgroup"), _group()
    return [p for pattern in (f"{name}*", f"*/{name}*") for p in root.glob(pattern)]


def _group() -> str:
    from apps.runtime.agent.daemon import Agent

    return Agent()._group


def scratch() -> Path:
    return Path("/run", _group()) if os.geteuid() == 0 else Path(settings.PORTICO_RUN, "scratch")


def test_sigterm_leaves_nothing(agent: RunningAgent) -> None:
    space, name = marked()
    starting, _ = marked("import time; time.sleep(1000)\n")
    ensure(space)
    with pytest.raises(TimeoutError):
        ensure(starting, timeout=0.5)
    assert len(processes_mentioning(name)) >= 4
    assert scratch().is_dir()
    assert cgroups() or os.geteuid() != 0
    assert agent.stop(signal.SIGTERM) == 0
    assert processes_mentioning(name) == []
    assert cgroups() == []
    assert not api_path().exists()
    assert not sockets_path().exists()
    assert not scratch().exists()
    assert str(scratch()) not in Path("/proc/mounts").read_text()
    assert stage_of(space) == Stage.SLEEPING
    assert stage_of(starting) == Stage.APP_STARTING, "the next agent starts it again"
    assert not Worker.objects.exclude(state=Worker.State.ENDED).exists()


def test_a_killed_agent_takes_its_workers_along_and_the_next_one_makes_the_stages_true(agent: RunningAgent) -> None:
    running, name = marked()
    starting, _ = marked("import time, pathlib\ntime.sleep(3)\n" + HELLO)
    worker = ensure(running)
    with pytest.raises(TimeoutError):
        ensure(starting, timeout=0.5)
    agent.stop(signal.SIGKILL)
    wait_until(lambda: processes_mentioning(name) == [], seconds=5)
    assert stage_of(running) == Stage.RUNNING, "nobody was there to say otherwise"
    left = {p for p in cgroups() if any(child.is_dir() for child in p.iterdir())}
    assert left or os.geteuid() != 0
    agent.start()
    assert stage_of(running) == Stage.SLEEPING
    assert Worker.objects.get(pk=worker.id).state == Worker.State.ENDED
    wait_for_stage(starting, Stage.RUNNING)
    assert fetch(ensure(running)) == "hello"
    alive = {w.pk.hex for w in Worker.objects.exclude(state=Worker.State.ENDED)}
    groups = {child.name for p in cgroups() for child in p.iterdir() if child.is_dir()}
    assert groups == alive


def test_a_second_agent_on_the_same_data_refuses_to_start(agent: RunningAgent) -> None:
    second = subprocess.run(
        AGENT, cwd=ROOT, env=agent.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert "An agent already runs on" in second.stderr
    assert fetch(ensure(sleeping_space())) == "hello"
