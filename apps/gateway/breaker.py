"""An app that only fails is left alone for a while: a circuit breaker for each Space.

Without it every request to an app that accepts nothing, or breaks off at once, costs sockets, an agent's attention and
the visitor's time. What counts is that no answer begins: an app's own status 500 is an answer.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from apps.gateway.routes import Route

FAILURES = 20
"""In a row, within `WITHIN_SECONDS`, open the circuit."""
WITHIN_SECONDS = 10.0
OPEN_SECONDS = 5.0
MAX_KNOWN = 10_000


@dataclass(slots=True)
class Circuit:
    """The failures of one deployment since it last answered.

    Attributes:
        failed_at: the last ones.
        open_until: when one request may try; None while the circuit is closed and everything passes.
    """

    deployment_id: int | None
    failed_at: deque[float] = field(default_factory=lambda: deque(maxlen=FAILURES))
    open_until: float | None = None


class Breaker:
    """The circuits of one event loop. Those of apps that answer are not kept.

    Args:
        opened: told when a Space's circuit opens.
    """

    def __init__(self, opened: Callable[[Route], None]) -> None:
        self._opened = opened
        self._failing: OrderedDict[int, Circuit] = OrderedDict()

    def refuses(self, route: Route) -> float:
        """0 when a request may go to the app, else the seconds after which one may.

        While the circuit is open, one request goes through each `OPEN_SECONDS`, to see whether the app answers again.
        """
        circuit = self._failing.get(route.space_id)
        if circuit is None or circuit.open_until is None:
            return 0.0
        if circuit.deployment_id != route.deployment_id:
            del self._failing[route.space_id]
            return 0.0
        now = time.monotonic()
        if now < circuit.open_until:
            return circuit.open_until - now
        circuit.open_until = now + OPEN_SECONDS
        return 0.0

    def failed(self, route: Route) -> None:
        """A request got no answer from the app."""
        circuit, now = self._failing.get(route.space_id), time.monotonic()
        if circuit is None or circuit.deployment_id != route.deployment_id:
            circuit = self._failing[route.space_id] = Circuit(route.deployment_id)
            if len(self._failing) > MAX_KNOWN:
                self._failing.popitem(last=False)
        circuit.failed_at.append(now)
        if circuit.open_until is not None:
            circuit.open_until = now + OPEN_SECONDS
        elif len(circuit.failed_at) == FAILURES and now - circuit.failed_at[0] <= WITHIN_SECONDS:
            circuit.open_until = now + OPEN_SECONDS
            self._opened(route)

    def answered(self, route: Route) -> None:
        """An answer of the app's began: everything passes again."""
        if self._failing:
            self._failing.pop(route.space_id, None)
