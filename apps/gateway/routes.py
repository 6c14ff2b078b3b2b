"""Which Space a host or a path means, kept in memory.

The database is the truth. A route is believed until somebody says `route.changed` on the channel group `routes`. That
message may be lost, and a takedown holds within two seconds even so: the routes that visitors use are read again
together, in the background, once a second (`apps.gateway.watch`), and each is believed for `TTL_SECONDS` after it was
last read. So a request asks the database only for a Space that nobody has visited for `WATCHED_SECONDS`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal

from django.conf import settings
from django.db.models import F, QuerySet
from django.utils.crypto import salted_hmac

from apps.builds.models import Deployment
from apps.gateway.models import Snapshot
from apps.runtime.database import in_database
from apps.spaces.models import Space, SpaceVariable

TTL_SECONDS = 1.9
UNKNOWN_SECONDS = 1.0
"""Likewise that there is no such Space; nobody reads that again in the background."""
WATCHED_SECONDS = 60.0
MAX_WATCHED = 1_000
"""How many routes are kept true in the background; others are read when they are asked for."""
MAX_KNOWN = 20_000
MAX_UNKNOWN = 5_000

Key = tuple[Literal["subdomain", "slug", "domain"], str]
"""`("subdomain", "ada-hello")`, `("slug", "ada/hello")` or `("domain", "demo.example.org")`, in lower case."""


@dataclass(frozen=True, slots=True)
class Route:
    """What the gateway needs to know about a Space.

    Attributes:
        embedding_sites: origins that alone may frame it, beside the portal, separated by spaces; empty for no list.
        lock: names the password that visitors are asked for, and changes with it; empty for none.
        closed: not for everybody: private, or behind a password.
    """

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
    embedding_sites: str = ""
    deployment_id: int | None = None
    app_file: str = ""
    base_path: str = "/"
    custom_headers: dict[str, str] = field(default_factory=dict, hash=False)
    snapshot: str = ""
    """Digest of the snapshot to draw its page from; empty for none."""
    assets: str = ""
    """Key of the Environment whose Gradio answers under `/assets/` and `/static/`; empty where the app itself does."""
    lock: str = ""
    closed: bool = False
    tells_username: bool = False

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


def lock_of(password_hash: str) -> str:
    """A name for a password, as cookies carry it, from which nothing of its hash can be learnt."""
    return salted_hmac("apps.gateway.routes.lock", password_hash, algorithm="sha256").hexdigest()[:32]


def _read(spaces: QuerySet[Space]) -> list[Route]:
    found = list(spaces.select_related("owner"))
    current = Deployment.objects.filter(space__in=[s.pk for s in found], is_current=True)
    deployments = {d.space_id: d for d in current.select_related("snapshot").defer("snapshot__content")}
    drawn = [s.pk for s in found if s.pk in deployments and _snapshot(deployments[s.pk]) is not None]
    variables = _variables(drawn) if drawn else {}
    return [_route(space, deployments.get(space.pk), variables.get(space.pk, [])) for space in found]


def _snapshot(deployment: Deployment) -> Snapshot | None:
    return getattr(deployment, "snapshot", None)


def _variables(space_ids: list[int]) -> dict[int, list[tuple[str, datetime]]]:
    found: dict[int, list[tuple[str, datetime]]] = {}
    for variable in SpaceVariable.objects.filter(space__in=space_ids).only("space", "key", "updated_at"):
        found.setdefault(variable.space_id, []).append((variable.key, variable.updated_at))
    return found


def inputs(slug: str, variables: list[tuple[str, datetime]]) -> str:
    """Digest of what a page may depend on beside its deployment.

    Args:
        slug: `owner/name`, which the worker is told.
        variables: name and time of the last change of each of its variables and secrets.
    """
    said = json.dumps([slug, sorted((key, at.isoformat()) for key, at in variables)])
    return sha256(said.encode()).hexdigest()


def inputs_of(space: Space) -> str:
    """The same, of a Space with its owner."""
    return inputs(space.slug, _variables([space.pk]).get(space.pk, []))


def _route(space: Space, deployment: Deployment | None, variables: list[tuple[str, datetime]]) -> Route:
    snapshot = _snapshot(deployment) if deployment else None
    is_true = snapshot is not None and space.is_snapshot_allowed and snapshot.inputs == inputs(space.slug, variables)
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
        embedding_sites=" ".join(space.embedding_sites),
        deployment_id=deployment.pk if deployment else None,
        app_file=deployment.app_file if deployment else "",
        base_path=deployment.base_path if deployment else "/",
        custom_headers=deployment.custom_headers if deployment else {},
        snapshot=snapshot.digest if snapshot and is_true else "",
        assets=(deployment.environment_id or "") if deployment and snapshot and snapshot.has_plain_assets else "",
        lock=lock_of(space.password) if space.asks_password else "",
        closed=space.is_private or space.asks_password,
        tells_username=space.tells_username,
    )
    return route


@in_database
def read_route(key: Key) -> Route | None:
    """Read one route from the database."""
    kind, value = key
    if kind == "subdomain":
        spaces = Space.objects.filter(subdomain=value)
    elif kind == "domain":
        spaces = Space.objects.filter(domains__name=value, domains__verified_at__isnull=False)
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
