"""Servers that have nothing to do take no processor time.

A Gradio app that nobody uses looks for queued events a thousand times a second, for progress ten times, and uvicorn for
its end ten times: a few percent of a processor for each app that is awake. Here these loops wait until there is
something to look for, and look once in `LOOK_SECONDS` all the same. What they do then is their own code, untouched.
"""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

LOOK_SECONDS = 1.0
"""Between two looks of an idle loop: an event that came by a way unknown here waits so long, not for ever."""
UVICORN_SECONDS = 0.1
"""What uvicorn itself waits between two ticks."""
LOOPS = ("start_processing", "start_progress_updates")


def install() -> None:
    """Have the loops of Gradio and uvicorn wait, where these are as they were when this was written."""
    queueing, uvicorn = sys.modules.get("gradio.queueing"), sys.modules.get("uvicorn.server")
    if queueing is not None:
        _queue(queueing.Queue)
    if uvicorn is not None:
        _server(uvicorn.Server)


def _queue(queue: Any) -> None:
    """Wake both loops of a queue when something is pushed."""
    push = queue.push
    originals = [getattr(queue, name) for name in LOOPS]

    def bells(self: Any) -> list[asyncio.Event]:
        return self.__dict__.setdefault("_bells", [asyncio.Event() for _ in LOOPS])  # type: ignore[no-any-return]

    async def pushed(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return await push(self, *arguments, **options)
        finally:
            for bell in bells(self):
                bell.set()

    def quieted(number: int) -> Callable[[Any], Coroutine[Any, Any, None]]:
        async def loop(self: Any) -> None:
            def may_wait() -> bool:
                empty = not self.stopped and len(self) == 0 and not self.delete_lock.locked()
                return empty and (number == 0 or not any(self.active_jobs))

            await _waiting(originals[number](self), may_wait, bells(self)[number])

        return loop

    queue.push = pushed
    for number, name in enumerate(LOOPS):
        setattr(queue, name, quieted(number))


@types.coroutine
def _waiting(
    loop: Coroutine[Any, Any, None], may_wait: Callable[[], bool], bell: asyncio.Event
) -> Generator[Any, Any, None]:
    """Run a coroutine; each time it has awaited something and may wait, it waits for the bell as well."""
    error: BaseException | None = None
    while True:
        try:
            awaited = loop.send(None) if error is None else loop.throw(error)
        except StopIteration:
            return
        error = None
        try:
            yield awaited
            if may_wait():
                yield from _rung(bell).__await__()
        except BaseException as raised:  # a cancellation too is for the coroutine
            error = raised


async def _rung(bell: asyncio.Event) -> None:
    timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, bell.set)
    try:
        await bell.wait()
    finally:
        timer.cancel()
        bell.clear()


def _server(server: Any) -> None:
    """uvicorn's tick: what it does every tenth time, as to renew the header Date once a second, it does every time."""
    tick = server.on_tick

    async def on_tick(self: Any, counter: int) -> bool:
        ends = bool(await tick(self, 10 * counter))
        if not ends:
            await asyncio.sleep(LOOK_SECONDS - UVICORN_SECONDS)
            ends = self.should_exit
        return ends

    server.on_tick = on_tick
