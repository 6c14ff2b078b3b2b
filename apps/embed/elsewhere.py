"""Following a run over a socket that another of the portal's web processes has.

The name of a run begins with that of its process, which listens to a group of the channel layer. Whoever has the socket
asks there for the run; its process then sends event by event, the next when the caller has taken the last, so that who
reads slowly misses what is overtaken here as well. Between processes there is Redis: while it is away, or when a
message is lost, a run cannot be taken up, and nothing else is amiss.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import structlog
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from apps.embed.inside import Caller
from apps.embed.runs import Run, Runs

log = structlog.get_logger(__name__)

HEARD_SECONDS = 60.0
"""How long the other process may take to pass an event on."""


class Relay:
    """Follows a run for a socket of another process.

    Args:
        run: what it follows.
        to: the channel of the socket.
        after: the number of the event that the caller has.
    """

    def __init__(self, run: Run, to: str, after: int) -> None:
        self._run, self._to, self._sent = run, to, after
        self._news, self._heard = asyncio.Event(), asyncio.Event()
        run.follow(self._on_news)
        self.task = asyncio.create_task(self._go())

    def _on_news(self) -> None:
        self._news.set()

    def heard(self) -> None:
        """The caller has the last event."""
        self._heard.set()

    async def _go(self) -> None:
        with suppress(TimeoutError, RedisError, OSError):
            try:
                await self._pass_on()
            finally:
                self._run.leave(self._on_news)

    async def _pass_on(self) -> None:
        layer = get_channel_layer()
        await layer.send(self._to, {"type": "run.here", "run": self._run.id})
        while self._run.is_followed_by(self._on_news):
            if news := self._run.after(self._sent):
                event = news[0]
                self._heard.clear()
                told = {"type": "run.told", "run": self._run.id, "text": event.text, "ends": event.ends}
                await layer.send(self._to, told)
                async with asyncio.timeout(HEARD_SECONDS):
                    await self._heard.wait()
                self._sent = event.number
            elif self._run.ended:
                return
            else:
                await self._news.wait()
                self._news.clear()


class Relays:
    """What the processes say to each other about runs.

    Args:
        runs: those of this process.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._loop: asyncio.AbstractEventLoop | None = None
        self._relays: dict[tuple[str, str], Relay] = {}

    async def listen(self) -> None:
        """Have the other processes find the runs of this one; once in an event loop."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        self._loop = loop
        layer = get_channel_layer()
        try:
            channel = await layer.new_channel()
            await layer.group_add(_group(self._runs.process), channel)
        except (RedisError, OSError) as error:
            self._loop = None
            log.warning("runs of this process are not found by others", error=repr(error))
            return
        self._listener = asyncio.create_task(self._listen(channel))

    async def _listen(self, channel: str) -> None:
        layer = get_channel_layer()
        while True:
            said = await layer.receive(channel)
            key = said["run"], said["to"]
            known, run = self._relays.get(key), self._runs.find(said["run"], said.get("who", []))
            match said["type"]:
                case "run.wanted" if run is not None:
                    self._begin(Relay(run, said["to"], said["after"]), key)
                case "run.heard" if known is not None:
                    known.heard()
                case "run.left" if known is not None:
                    known.task.cancel()
                case "run.unwanted" if run is not None:
                    run.give_up()

    def _begin(self, relay: Relay, key: tuple[str, str]) -> None:
        def done(_: asyncio.Task[None]) -> None:
            if self._relays.get(key) is relay:
                del self._relays[key]

        self._relays[key] = relay
        relay.task.add_done_callback(done)

    async def say(self, kind: str, run_id: str, to: str, **more: Any) -> None:
        """Tell the process of a run something, for the socket whose channel is `to`."""
        with suppress(RedisError, OSError):
            await get_channel_layer().group_send(
                _group(self._runs.process_of(run_id)), {"type": kind, "run": run_id, "to": to, **more}
            )

    async def want(self, run_id: str, to: str, caller: Caller, after: int) -> None:
        """Ask for a run's events, which come to the channel `to` as `run.here` and `run.told`, if it is there."""
        await self.say("run.wanted", run_id, to, who=caller.who, after=after)


def _group(process: str) -> str:
    return f"runs.{process}"
