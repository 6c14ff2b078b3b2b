"""Messages in files are whole or not there, whatever happens to who writes them."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest
from kombu import Connection

FULL_DISK = """
import json, resource, signal, sys
from kombu import Connection
from kombu.exceptions import ChannelError
from portal import file_queue
file_queue.register()
channel = Connection("files://", transport_options=json.loads(sys.argv[1])).channel()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    channel._put("portico", {"task": "build"})
except ChannelError:
    print("refused")
"""
TASK = """
import json, sys
from kombu import Connection
from portal.celery import app
options = json.loads(sys.argv[1])
with Connection("files://", transport_options=options) as connection, connection.SimpleQueue("portico") as queue:
    app.send_task("apps.builds.tasks.sweep", producer=queue.producer, queue="portico")
    print(queue.get(timeout=10).headers["task"])
"""


@pytest.fixture
def options(tmp_path: Path) -> dict[str, str]:
    folders = {"data_folder_in": "messages", "data_folder_out": "messages", "control_folder": "control"}
    options = {name: str(tmp_path / folder) for name, folder in folders.items()}
    (tmp_path / "messages").mkdir()
    (tmp_path / "control").mkdir()
    return options


@pytest.fixture
def channel(options: dict[str, str]) -> Iterator[Any]:
    with Connection("files://", transport_options=options) as connection:
        yield connection.channel()


def test_every_message_comes_once(channel: Any) -> None:
    for number in range(20):
        channel._put("portico", {"number": number})
    numbers = [channel._get("portico")["number"] for _ in range(20)]
    assert sorted(numbers) == list(range(20))
    with pytest.raises(Empty):
        channel._get("portico")


def test_a_message_that_a_full_disk_refused_leaves_nothing(options: dict[str, str], channel: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, json.dumps(options)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["refused"]
    assert list(Path(options["data_folder_in"]).iterdir()) == []
    with pytest.raises(Empty):
        channel._get("portico")


@pytest.mark.parametrize("text", ["", '{"task": "bui'])
def test_a_message_that_is_not_whole_is_dropped_and_the_next_one_comes(
    text: str, options: dict[str, str], channel: Any
) -> None:
    (Path(options["data_folder_in"]) / "0_cut.portico.msg").write_text(text)
    channel._put("portico", {"task": "next"})
    assert channel._get("portico") == {"task": "next"}


def test_a_table_is_read_when_it_is_written(options: dict[str, str], channel: Any) -> None:
    """As when two processes of the portal declare the same queue while they start."""
    control = Path(options["control_folder"])
    seen: Queue[Any] = Queue()

    def read() -> None:
        seen.put(channel.get_table("portico"))

    with (control / "tables.lock").open("w") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        (control / "portico.exchange").write_text("")
        reader = threading.Thread(target=read)
        reader.start()
        (control / "portico.exchange").write_text(json.dumps([["portico", "", "portico"]]))
    reader.join()
    assert [entry.queue for entry in seen.get(timeout=10)] == ["portico"]


def test_a_table_that_a_power_failure_emptied_is_made_anew(options: dict[str, str], channel: Any) -> None:
    (Path(options["control_folder"]) / "portico.exchange").write_text("")
    assert channel.get_table("portico") == []
    channel._queue_bind("portico", "portico", "", "portico")
    assert [entry.queue for entry in channel.get_table("portico")] == ["portico"]


def test_a_task_is_sent_and_received(options: dict[str, str], tmp_path: Path) -> None:
    # In a process of its own: Celery declares a queue once for each, and other tests have sent tasks elsewhere.
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "portal.settings", "PORTICO_DATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", TASK, json.dumps(options)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["apps.builds.tasks.sweep"]
