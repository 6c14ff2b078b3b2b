"""Egress as the rest of the agent sees it: whether there is any, and a link for each worker that may have one."""

from __future__ import annotations

import time

from apps.sandbox.egress.router import Link, NoEgress, Router

RETRY_SECONDS = 30.0
TURNED_OFF = "PORTICO_EGRESS is none"


class Egress:
    """The egress of one node.

    Args:
        wanted: whether workers may have any at all.

    Attributes:
        why_none: empty while workers can reach the world.
    """

    def __init__(self, wanted: bool) -> None:
        self.why_none = "the agent has only just started" if wanted else TURNED_OFF
        self._wanted = wanted
        self._router: Router | None = None
        self._retry_at = 0.0

    async def tend(self) -> None:
        """Make what is missing: at first, after pasta has ended, and now and then where it could not be made."""
        if not self._wanted or (self._router is not None and self._router.is_up) or time.monotonic() < self._retry_at:
            return
        self._retry_at = time.monotonic() + RETRY_SECONDS
        try:
            if self._router is None:
                router = Router()
                await router.start()
                self._router = router
            else:
                await self._router.revive()
            self.why_none = ""
            self._retry_at = 0.0
        except NoEgress as error:
            self.why_none = str(error)

    @property
    def within(self) -> int | None:
        """The user namespace, a descriptor, in which a worker must be made that is to have a link; None: in any."""
        return self._router.within if self._router is not None else None

    async def connect(self, namespace: int) -> Link:
        """Give a worker's network namespace its link. For root nothing is awaited.

        Raises:
            NoEgress: there is none to be had.
        """
        if self._router is None:
            raise NoEgress(self.why_none)
        return await self._router.connect(namespace)

    async def cut(self, link: Link) -> None:
        """Take a link away from a worker before it runs.

        Raises:
            OSError: it is still there.
        """
        if self._router is not None:
            await self._router.cut(link)

    def disconnect(self, link: Link) -> None:
        """Forget the link of a worker that has ended."""
        if self._router is not None:
            self._router.disconnect(link)

    async def end(self) -> None:
        router, self._router = self._router, None
        if router is not None:
            await router.end()
