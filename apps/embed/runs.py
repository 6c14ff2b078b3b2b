"""One call of a Gradio app's endpoint, told as it goes: what `/ws/spaces/<owner>/<name>/run` is made of.

A run is Gradio's own queue, joined and heard through the gateway. It lives beside the socket that asked for it: when
that one is gone the run goes on for a while, and is followed further over another one. What it has told is kept as far
as it still says something: all of its states and its end, and of queue places, progress and partial results the
newest. So whoever reads slowly misses what was overtaken, and nothing piles up.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from apps.embed.inside import Asked, Caller, TooMuch, ask, parsed
from apps.gateway.asgi import current

HOLD_SECONDS = 60.0
"""How long a run goes on that nobody follows, and how long one that has ended is remembered."""
MAX_REMEMBERED_BYTES = 64 * 1024**2
"""What ended runs may hold together in one process; the oldest are forgotten first."""
MAX_LOGS = 20
MAX_TEXT = 2_000
API = "/gradio_api"
ENDS = frozenset({"result", "error", "cancelled"})
OVERTAKEN = frozenset({"queue", "progress", "partial"})
"""Of these only the newest says something."""
PROCESS = re.compile(r"[0-9a-f]{12}")
LEVELS = frozenset({"info", "warning", "success", "error"})


class Refused(Exception):
    """The run cannot be; the text says why, to whoever asked.

    Attributes:
        code: for programs.
        stage: the Space's, where it is the reason and does not pass by itself.
    """

    def __init__(self, code: str, why: str, stage: str = "") -> None:
        super().__init__(why)
        self.code, self.stage = code, stage


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the app.

    Attributes:
        number: Gradio's `fn_index`.
        given: for each input whether the caller gives it; Gradio fills in the others, as a session's state.
        told: for each output whether the caller is told it.
    """

    number: int
    given: tuple[bool, ...]
    told: tuple[bool, ...]

    def inputs(self, data: list[Any]) -> list[Any]:
        """The values as Gradio takes them.

        Raises:
            Refused: they are not as many as it takes.
        """
        if len(data) != sum(self.given):
            takes = f"{sum(self.given)} value{'' if sum(self.given) == 1 else 's'}"
            raise Refused("bad_data", f"This endpoint takes {takes}, in a list; {len(data)} came.")
        values = iter(data)
        return [next(values) if given else None for given in self.given]

    def outputs(self, data: list[Any]) -> list[Any]:
        if len(data) != len(self.told):
            return data
        return [value for value, told in zip(data, self.told, strict=True) if told]


Functions = Mapping[str | int, Function]


def functions(config: object) -> Functions:
    """What may be called, by name and by number, as the app's `/config` says. It is the app's word, so what is
    malformed is left out."""
    if not isinstance(config, dict):
        return {}
    kept_back = {
        part.get("id")
        for part in _list(config.get("components"))
        if isinstance(part, dict) and isinstance(part.get("id"), int) and (part.get("skip_api") or _is_state(part))
    }
    found: dict[str | int, Function] = {}
    for one in _list(config.get("dependencies")):
        if not isinstance(one, dict) or one.get("api_visibility") == "private" or not one.get("backend_fn", True):
            continue
        number, name = one.get("id"), one.get("api_name")
        sides = [_list(one.get(side)) for side in ("inputs", "outputs")]
        if not isinstance(number, int) or not all(isinstance(part, int) for side in sides for part in side):
            continue
        given, told = (tuple(part not in kept_back for part in side) for side in sides)
        function = Function(number, given, told)
        if isinstance(name, str):
            found.setdefault(name.removeprefix("/"), function)
        elif name is not False:
            found[number] = function
    return found


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_state(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "state"


def _text(value: object, otherwise: str = "") -> str:
    return value[:MAX_TEXT] if isinstance(value, str) and value.strip() else otherwise


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class Event:
    """Something a run told.

    Attributes:
        number: counts up from 1.
        text: the message, as JSON.
    """

    number: int
    type: str
    text: str

    @property
    def ends(self) -> bool:
        return self.type in ENDS


class Run:
    """A run under way, or one that has ended a moment ago.

    Args:
        run_id: as `Runs.new_id` makes it.
        caller: for whom.
        endpoint: its name or number, as the caller said.
        data: its inputs.
        label: what the caller calls it, told in every message; None for nothing.
        known: the app's functions where they are known, else None; asked for then and given to `learnt`.

    Attributes:
        id: its name.
        label: see above.
        ended: whether everything is told.
        size: characters of what is kept.
    """

    def __init__(
        self,
        run_id: str,
        caller: Caller,
        endpoint: str | int,
        data: list[Any],
        *,
        label: str | None,
        known: Functions | None,
        learnt: Callable[[Functions], None],
    ) -> None:
        self.id = run_id
        self.caller = caller
        self.ended = False
        self.size = 0
        self.label = label
        self._endpoint, self._data = endpoint, data
        self._known, self._learnt = known, learnt
        self._told: list[Event] = []
        self._count = 0
        self._follower: Callable[[], None] | None = None
        self._is_queued = False
        self._given_up = asyncio.Event()
        self._began_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def failed(self) -> bool:
        """Whether it ended with an error."""
        return bool(self._told) and self._told[-1].type == "error"

    def begin(self) -> None:
        """Start it, in a task of its own."""
        self._tell("status", status="pending")
        self._task = asyncio.create_task(self._go())

    def follow(self, follower: Callable[[], None]) -> None:
        """Have `follower` called when there is news; in place of whoever followed before."""
        former, self._follower = self._follower, follower
        if former is not None and former != follower:
            former()  # it sees that it follows no more
        if self._timer is not None and not self.ended:
            self._timer.cancel()

    def leave(self, follower: Callable[[], None]) -> None:
        """Nobody follows any more, unless it is somebody else: it is given up after `HOLD_SECONDS`."""
        if self._follower == follower:
            self._follower = None
            if not self.ended:
                self._timer = asyncio.get_running_loop().call_later(HOLD_SECONDS, self.give_up)

    def is_followed_by(self, follower: Callable[[], None]) -> bool:
        return self._follower == follower

    def after(self, number: int) -> list[Event]:
        """What was told after the event of this number, as far as it is kept."""
        return [event for event in self._told if event.number > number]

    def give_up(self) -> None:
        """Cancel it; the app is told to stop. Without effect once it has ended."""
        self._tell("cancelled")
        self._given_up.set()

    def _tell(self, kind: str, **more: Any) -> None:
        if self.ended:
            return
        self._count += 1
        message: dict[str, Any] = {"type": kind, "run": self.id, "event_id": self._count}
        if self.label is not None:
            message["id"] = self.label
        event = Event(self._count, kind, json.dumps(message | more))
        self.ended = kind in ENDS
        if kind in OVERTAKEN or self.ended:
            overtaken = OVERTAKEN if self.ended else {kind}
            self._told = [old for old in self._told if old.type not in overtaken]
        elif kind == "log" and sum(old.type == "log" for old in self._told) >= MAX_LOGS:
            self._told.remove(next(old for old in self._told if old.type == "log"))
        self._told.append(event)
        self.size = sum(len(kept.text) for kept in self._told)
        if self.ended:
            runs.ended(self)
        if self._follower is not None:
            self._follower()

    async def _go(self) -> None:
        try:
            if current().workers.ready(self.caller.route) is None:
                self._tell("status", status="waking")
            function, session = await self._function(), secrets.token_hex(10)
            if self.ended:
                return
            event = await self._join(function, session)
            await self._until_its_end(function, session, event)
        except Refused as refused:
            more = {"stage": refused.stage} if refused.stage else {}
            self._tell("error", code=refused.code, message=str(refused), **more)
        except TooMuch:
            self._tell("error", code="too_large", message="The app answered more than can be passed on.")
        finally:
            self._tell("error", code="broken_off", message="The app ended before it had answered.")

    async def _function(self) -> Function:
        if self._known is None:
            status, config = await ask(self.caller, "GET", "/config")
            if status != 200:
                raise _refusal(status, config)
            self._known = functions(config)
            self._learnt(self._known)
        wanted = self._endpoint.removeprefix("/") if isinstance(self._endpoint, str) else self._endpoint
        function = self._known.get(wanted)
        if function is None:
            named = sorted(f"/{name}" for name in self._known if isinstance(name, str))[:20]
            there = f" There are {', '.join(named)}." if named else ""
            raise Refused("no_such_endpoint", f"The app has no endpoint {str(self._endpoint)[:100]}.{there}")
        return function

    async def _join(self, function: Function, session: str) -> str:
        """Returns Gradio's number of the event."""
        # Without `simple_format` Gradio would tell each further partial result as what changed.
        asked = {
            "data": function.inputs(self._data),
            "fn_index": function.number,
            "session_hash": session,
            "simple_format": True,
        }
        status, said = await ask(self.caller, "POST", f"{API}/queue/join", asked)
        event = said.get("event_id") if isinstance(said, dict) else None
        if status != 200 or not isinstance(event, str):
            raise _refusal(status, said)
        self._data = []
        return event

    async def _until_its_end(self, function: Function, session: str, event: str) -> None:
        hears = asyncio.create_task(self._hear(function, session))
        gives_up = asyncio.create_task(self._given_up.wait())
        try:
            await asyncio.wait({hears, gives_up}, return_when=asyncio.FIRST_COMPLETED)
            if self._given_up.is_set():
                it = {"session_hash": session, "fn_index": function.number, "event_id": event}
                await ask(self.caller, "POST", f"{API}/cancel", it)
            else:
                hears.result()
        finally:
            hears.cancel()
            gives_up.cancel()
            await asyncio.gather(hears, gives_up, return_exceptions=True)

    async def _hear(self, function: Function, session: str) -> None:
        async with Asked(self.caller, "GET", f"{API}/queue/data", query=f"session_hash={session}") as asked:
            if asked.status != 200:
                raise _refusal(asked.status, parsed(await asked.whole()))
            async for said in asked.events():
                if isinstance(said, dict):
                    self._pass_on(function, said)
                if self.ended:
                    return

    def _pass_on(self, function: Function, said: dict[str, Any]) -> None:
        output = said.get("output")
        data = output.get("data") if isinstance(output, dict) else None
        match said.get("msg"):
            case "estimation":
                if not self._is_queued:
                    self._is_queued = True
                    self._tell("status", status="queued")
                rank, size = _number(said.get("rank")), _number(said.get("queue_size"))
                position = None if rank is None else int(rank) + 1
                self._tell("queue", position=position, size=size, eta=_number(said.get("rank_eta")))
            case "process_starts":
                self._began_at = time.monotonic()
                self._tell("status", status="running", eta=_number(said.get("eta")))
            case "progress":
                self._tell("progress", progress=[_unit(one) for one in _list(said.get("progress_data"))[:10]])
            case "log":
                level = said.get("level")
                level = level if level in LEVELS else "info"
                self._tell("log", level=level, title=_text(said.get("title")), message=_text(said.get("log")))
            case "process_generating" | "process_streaming" if said.get("success") and isinstance(data, list):
                self._tell("partial", data=function.outputs(data))
            case "process_completed" if said.get("success") and isinstance(data, list):
                taken = _number(output.get("duration")) if isinstance(output, dict) else None
                took = time.monotonic() - self._began_at
                self._tell("result", data=function.outputs(data), duration=round(max(took, taken or 0), 3))
            case "process_completed":
                why = output.get("error") if isinstance(output, dict) else None
                self._tell("error", code="app_error", message=_text(why, "The app raised an error."))
            case "unexpected_error" | "server_stopped":
                why = _text(said.get("message"), "The app ended before it had answered.")
                self._tell("error", code="broken_off", message=why)


def _unit(said: object) -> dict[str, Any]:
    """One bar of Gradio's progress."""
    unit = said if isinstance(said, dict) else {}
    index, length, share = (_number(unit.get(name)) for name in ("index", "length", "progress"))
    if share is None and index is not None and length:
        share = index / length
    return {"index": index, "length": length, "unit": _text(unit.get("unit")) or None, "progress": share,
            "desc": _text(unit.get("desc")) or None}  # fmt: skip


def _refusal(status: int, said: object) -> Refused:
    """Why the gateway or the app did not take a request."""
    of = said if isinstance(said, dict) else {}
    why = of.get("message") or of.get("detail") or of.get("error")
    if why is not None and not isinstance(why, str):
        why = json.dumps(why)
    code, stage = of.get("error"), of.get("stage")
    if isinstance(of.get("message"), str) and isinstance(code, str):  # the gateway's words
        passes = bool(of.get("waits")) or not isinstance(stage, str)
        return Refused(_text(code), _text(why), "" if passes else _text(stage))
    return Refused("refused", _text(why, f"The app answered {status}." if status else "The app did not answer."))


class Runs:
    """The runs of this process that can be followed."""

    def __init__(self) -> None:
        self._process = ""
        self._all: dict[str, Run] = {}
        self._ended: OrderedDict[str, Run] = OrderedDict()

    def add(self, run: Run) -> None:
        self._all[run.id] = run

    @property
    def process(self) -> str:
        """The name of this process."""
        if not self._process:
            self._process = secrets.token_hex(6)
        return self._process

    def new_id(self) -> str:
        """A name for a run, which nobody can guess and by which its process is found."""
        return f"{self.process}.{secrets.token_urlsafe(16)}"

    def process_of(self, run_id: str) -> str:
        """The process that a name leads to; empty when it cannot be one's."""
        process = run_id.partition(".")[0]
        return process if PROCESS.fullmatch(process) else ""

    def is_elsewhere(self, run_id: str) -> bool:
        """Whether another process may have this run."""
        return self.process_of(run_id) not in ("", self.process)

    def find(self, run_id: str, who: list[int | str]) -> Run | None:
        """A run that the same person (`Caller.who`) asked of the same Space."""
        run = self._all.get(run_id)
        return run if run is not None and run.caller.who == who else None

    def ended(self, run: Run) -> None:
        """Remember it for `HOLD_SECONDS`, unless others that ended later need the room."""
        self._ended[run.id] = run
        asyncio.get_running_loop().call_later(HOLD_SECONDS, self._forget, run.id)
        held = sum(one.size for one in self._ended.values())
        while held > MAX_REMEMBERED_BYTES and len(self._ended) > 1:
            oldest = next(iter(self._ended))
            held -= self._ended[oldest].size
            self._forget(oldest)

    def _forget(self, run_id: str) -> None:
        self._ended.pop(run_id, None)
        self._all.pop(run_id, None)


runs = Runs()
