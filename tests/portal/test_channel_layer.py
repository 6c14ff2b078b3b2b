"""Messages reach consumers from other processes without Redis."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from portal.channel_layer import LocalChannelLayer

SEND = """
import asyncio, sys
from portal.channel_layer import LocalChannelLayer
asyncio.run(LocalChannelLayer(path=sys.argv[1]).group_send("routes", {"type": "route.changed", "space": 7}))
"""
LISTEN = """
import asyncio, sys
from portal.channel_layer import LocalChannelLayer
layer = LocalChannelLayer(path=sys.argv[1])
asyncio.run(layer.group_add("routes", "somebody"))
print(layer.path.is_socket())
"""


async def test_a_message_from_another_process_arrives(tmp_path: Path) -> None:
    path = str(tmp_path / "channels.sock")
    layer = LocalChannelLayer(path=path)
    channel = await layer.new_channel()
    await layer.group_add("routes", channel)
    subprocess.run([sys.executable, "-c", SEND, path], check=True)
    assert await asyncio.wait_for(layer.receive(channel), 5) == {"type": "route.changed", "space": 7}


async def test_a_message_within_the_process_arrives(tmp_path: Path) -> None:
    layer = LocalChannelLayer(path=str(tmp_path / "channels.sock"))
    channel = await layer.new_channel()
    await layer.group_add("routes", channel)
    await layer.group_send("routes", {"type": "route.changed", "space": 1})
    assert (await layer.receive(channel))["space"] == 1


async def test_sending_while_nobody_listens_is_no_error(tmp_path: Path) -> None:
    await LocalChannelLayer(path=str(tmp_path / "channels.sock")).group_send("routes", {"type": "route.changed"})


async def test_a_datagram_that_is_not_a_message_is_ignored(tmp_path: Path) -> None:
    path = str(tmp_path / "channels.sock")
    layer = LocalChannelLayer(path=path)
    channel = await layer.new_channel()
    await layer.group_add("routes", channel)
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(b"not json", path)
    await LocalChannelLayer(path=path).group_send("routes", {"type": "route.changed", "space": 2})
    assert (await asyncio.wait_for(layer.receive(channel), 5))["space"] == 2


def test_no_socket_is_left_by_a_process_that_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "channels.sock"
    done = subprocess.run([sys.executable, "-c", LISTEN, str(path)], check=True, capture_output=True, text=True)
    assert (done.stdout, path.exists()) == ("True\n", False)
