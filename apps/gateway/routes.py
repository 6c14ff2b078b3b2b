"""Which Space a host or a path means, kept in memory.

The database is the truth. A route is believed until somebody says `route.changed` on the channel group `routes`. That
message may be lost, and a takedown holds within two seconds even so: the routes that visitors use are read again
together, in the background, once a second (`apps.gateway.watch`), and each is believed for `TTL_SECONDS` after it was
last read. So a request asks the database only for a Space that nobody has visited for `WATCHED_SECONDS`.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from django.conf import settings
from django.db.models import F, QuerySet

from apps.builds.models import Deployment
from apps.runtime.database import in_database
from apps.spaces.models import Space

TTL_SECONDS = 1.9
UNKNOWN_SECONDS = 1.0
"""Likewise that there is no such Space; nobody reads that again in the background."""
WATCHED_SECONDS = 60.0
MAX_WATCHED = 1_000
"""How many routes are kept true in the background; others are read when they are asked for."""
MAX_KNOWN = 20_000
MAX_UNKNOWN = 5_000

Key = tuple[Literal["subdomain", "slug"], str]
"""`("subdomain", "ada-hello")` or `("slug", "ada/hello")`, in lower case."""


@dataclass(frozen=True, slots=True)
class Route:
    """What the gateway needs to know about a Space."""

    space_id: int
    slug: str
    owner_id: int
    subdomain: str
    private: bool
    withheld: bool
    stage: str
    stage_message: str
    sdk: str
    disable_embedding: bool
    deployment_id: int | None = None
    app_file: str = ""
    base_path: str = "/"
    custom_headers: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def folder(self) -> Path:
        """The current deployment's files. Only for a route that has a deployment."""
        assert self.deployment_id is not None
        return settings.PORTICO_DATA / "deployments" / str(self.deployment_id)

    @property
    def host(self) -> str:
        return f"{self.subdomain}.{settings.PORTICO_SPACES_DOMAIN}{settings.PORTICO_PUBLIC_PORT}"

    @property
    def origin(self) -> str:
        return f"{settings.PORTICO_SCHEME}://{self.host}"


def _read(spaces: QuerySet[Space]) -> list[Route]:
    found = list(spaces.select_related("owner"))
    deployments = {
        d.space_id: d for d in Deployment.objects.filter(space__in=[s.pk for s in found], is_current=True)
    }  # fmt: skip
    return [_route(space, deployments.get(space.pk)) for space in found]


def _route(space: Space, deployment: Deployment | None) -> Route:
    route = Route(
        space_id=space.pk,
        slug=space.slug,
        owner_id=space.owner_id,
        subdomain=space.subdomain,
        private=space.is_private,
        withheld=space.is_withheld,
        stage=space.stage,
        stage_message=space.stage_message,
        sdk=deployment.sdk if deployment else space.sdk,
        disable_embedding=space.disable_embedding,
        deployment_id=deployment.pk if deployment else None,
        app_file=deployment.app_file if deployment else "",
        base_path=deployment.base_path if deployment else "/",
        custom_headers=deployment.custom_headers if deployment else {},
    )
    return route


@in_database
def read_route(key: Key) -> Route | None:
    """Read one route from the database."""
    kind, value = key
    if kind == "subdomain":
        spaces = Space.objects.filter(subdomain=value)
    else:
        owner, _, name = value.partition("/")
        spaces = Space.objects.filter(owner__name__iexact=owner, name__iexact=name)
    return next(iter(_read(spaces)), None)


@in_database
def read_routes(space_ids: Iterable[int]) -> list[Route]:
    """Read many routes at once; those of Spaces that are gone are missing."""
    return _read(Space.objects.filter(pk__in=list(space_ids)).order_by(F("pk")))


@dataclass(slots=True)
class _Entry:
    route: Route | None
    until: float
    used_at: float = 0.0


class Routes:
    """The routes that one event loop knows. Look-ups of the same key at the same time share one query."""

    def __init__(self) -> None:
        self._known: OrderedDict[Key, _Entry] = OrderedDict()
        self._unknown: OrderedDict[Key, _Entry] = OrderedDict()
        self._watched: dict[Key, _Entry] = {}
        self._keys: dict[int, set[Key]] = {}
        self._reading: dict[Key, asyncio.Task[Route | None]] = {}
        self._generation = 0

    async def find(self, key: Key) -> Route | None:
        """Return the route, or None when there is no such Space."""
        entry, now = self._known.get(key) or self._unknown.get(key), time.monotonic()
        if entry is not None and entry.until > now:
            entry.used_at = now
            return entry.route
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._fetch(key))
        return await asyncio.shield(task)

    async def _fetch(self, key: Key) -> Route | None:
        now, generation = time.monotonic(), self._generation
        try:
            route = await read_route(key)
        finally:
            if self._reading.get(key) is asyncio.current_task():
                del self._reading[key]
        if generation != self._generation:
            return route  # something changed meanwhile: an answer for those who asked before, not to be kept
        self._forget(key)
        if route is None:
            _put(self._unknown, key, _Entry(None, now + UNKNOWN_SECONDS), MAX_UNKNOWN)
        else:
            self._keys.setdefault(route.space_id, set()).add(key)
            entry = _Entry(route, now + TTL_SECONDS, used_at=now)
            for old in _put(self._known, key, entry, MAX_KNOWN):
                self._unindex(old)
            if len(self._watched) < MAX_WATCHED:
                self._watched[key] = entry
        return route

    def in_use(self) -> set[int]:
        """The Spaces whose routes are to be read again now."""
        since = time.monotonic() - WATCHED_SECONDS
        for key, entry in list(self._watched.items()):
            if entry.used_at < since:
                del self._watched[key]
        return {entry.route.space_id for entry in self._watched.values() if entry.route is not None}

    def renew(self, asked: set[int], routes: Mapping[int, Route], read_at: float) -> set[int]:
        """Believe the routes that are as the database had them.

        Args:
            asked: the Spaces that were `in_use`.
            routes: what the database had of them.
            read_at: when it was asked, by `time.monotonic`.

        Returns:
            the Spaces that are not what they were, or gone.
        """
        changed = set()
        for entry in self._watched.values():
            assert entry.route is not None
            if entry.route.space_id not in asked:
                continue
            if routes.get(entry.route.space_id) == entry.route:
                entry.until = max(entry.until, read_at + TTL_SECONDS)
            elif entry.until < read_at + TTL_SECONDS:  # else it was read since
                changed.add(entry.route.space_id)
        return changed

    def invalidate(self, space_id: int) -> None:
        """Forget the Space's routes, and every name that was unknown: one of them may be this Space's now."""
        for key in list(self._keys.get(space_id, ())):
            self._forget(key)
        self._unknown.clear()
        self._reading.clear()
        self._generation += 1

    def _forget(self, key: Key) -> None:
        self._unknown.pop(key, None)
        if entry := self._known.pop(key, None):
            self._unindex((key, entry))

    def _unindex(self, item: tuple[Key, _Entry]) -> None:
        key, entry = item
        assert entry.route is not None
        self._watched.pop(key, None)
        keys = self._keys[entry.route.space_id]
        keys.discard(key)
        if not keys:
            del self._keys[entry.route.space_id]


def _put(cache: OrderedDict[Key, _Entry], key: Key, entry: _Entry, limit: int) -> list[tuple[Key, _Entry]]:
    """Store the newest and return what had to go."""
    cache[key] = entry
    return [cache.popitem(last=False) for _ in range(len(cache) - limit)]
