"""How much one address, and one Space, may ask of the gateway: requests a second, and connections at once.

Each process counts for itself, in memory. With Redis the processes of a portal settle their counts in the background
every `SETTLE_SECONDS`, so limits hold for all of them together, give or take what comes in between. No request waits
for Redis, and while it is away each process' own counts hold.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from heapq import nlargest
from ipaddress import IPv6Address, ip_address
from typing import Any, Literal

import structlog
from django.conf import settings
from redis.asyncio import Redis
from redis.exceptions import RedisError

from apps.accounts.addresses import network
from apps.gateway.exchanges import Exchanges

log = structlog.get_logger(__name__)

MAX_KEYS = 50_000
"""How many addresses, and Spaces, are remembered; those that asked least recently are forgotten."""
SETTLE_SECONDS = 0.2
SETTLED_AT_ONCE = 1_000
"""Of each kind; those that asked most go first."""
ELSEWHERE_SECONDS = 2
"""How long the connections that a process has reported count as open."""
REDIS_RETRY_SECONDS = 1.0

SCRIPT = """
local time = redis.call('TIME')
local now, said = time[1] + time[2] / 1000000, {}
local process, lives = ARGV[1], tonumber(ARGV[2])
for i, key in ipairs(KEYS) do
  local at = 2 + (i - 1) * 4
  local rate, burst = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local spent, open = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local known = redis.call('HMGET', key, 'tokens', 'at')
  local tokens = tonumber(known[1]) or burst
  tokens = math.min(burst, tokens + (now - (tonumber(known[2]) or now)) * rate)
  tokens = math.max(0, tokens - spent)
  redis.call('HSET', key, 'tokens', tostring(tokens), 'at', tostring(now))
  redis.call('EXPIRE', key, math.ceil(burst / rate) + lives)
  local held, others = key .. ':open', 0
  redis.call('HSET', held, process, open .. ' ' .. now + lives)
  redis.call('EXPIRE', held, lives)
  local all = redis.call('HGETALL', held)
  for j = 1, #all, 2 do
    local count, ends = string.match(all[j + 1], '(%d+) (.+)')
    if tonumber(ends) < now then redis.call('HDEL', held, all[j])
    elseif all[j] ~= process then others = others + count end
  end
  said[2 * i - 1], said[2 * i] = tostring(tokens), others
end
return said
"""
"""For each key: take what was spent from a token bucket that all share, and say what is left in it and how many
connections the others have open."""


@lru_cache(MAX_KEYS)
def limited(address: str) -> str:
    """The `network` that is counted. Empty for this machine itself, which no limit by address holds: an operator's own
    programs, or a front proxy that `PORTICO_TRUSTED_PROXIES` does not name and whose visitors cannot be told apart."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return "" if (mapped or parsed).is_loopback else network(address)


@dataclass(slots=True)
class Bucket:
    """A token bucket: `tokens` at `at`, and what was `spent` since it was last settled."""

    tokens: float
    at: float
    spent: int = 0


class Buckets:
    """Token buckets of one kind.

    Args:
        kind: names the settings `PORTICO_RATE_PER_<kind>` (a second) and `PORTICO_BURST_PER_<kind>`.
    """

    def __init__(self, kind: Literal["ADDRESS", "SPACE"]) -> None:
        self.kind = kind
        self._rate, self._burst = f"PORTICO_RATE_PER_{kind}", f"PORTICO_BURST_PER_{kind}"
        self._known: OrderedDict[str, Bucket] = OrderedDict()
        self._spenders: set[str] = set()

    @property
    def rate(self) -> float:
        return getattr(settings, self._rate)

    @property
    def burst(self) -> int:
        return getattr(settings, self._burst)

    def take(self, key: str) -> float:
        """Take one token. Returns 0, or the seconds until there is one."""
        rate = self.rate
        if not rate:
            return 0.0
        now, bucket = time.monotonic(), self._known.get(key)
        if bucket is None:
            bucket = self._known[key] = Bucket(self.burst, now)
            if len(self._known) > MAX_KEYS:
                self._spenders.discard(self._known.popitem(last=False)[0])
        else:
            self._known.move_to_end(key)
            bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.at) * rate)
            bucket.at = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / rate
        bucket.tokens -= 1
        bucket.spent += 1
        self._spenders.add(key)
        return 0.0

    def spent(self) -> dict[str, int]:
        """What the busiest have spent since it was last asked; the others are asked for later."""
        known = self._known
        busiest = nlargest(SETTLED_AT_ONCE, self._spenders, key=lambda key: known[key].spent)
        self._spenders.difference_update(busiest)
        found = {key: known[key].spent for key in busiest}
        for key in busiest:
            known[key].spent = 0
        return found

    def settle(self, key: str, tokens: float) -> None:
        """This is what all processes together have left, but for what was spent here meanwhile."""
        if bucket := self._known.get(key):
            bucket.tokens, bucket.at = tokens - bucket.spent, time.monotonic()


class Limits:
    """The limits of one event loop.

    Args:
        exchanges: count connections per Space.
    """

    def __init__(self, exchanges: Exchanges) -> None:
        self._exchanges = exchanges
        self._addresses, self._spaces = Buckets("ADDRESS"), Buckets("SPACE")
        self._open: dict[str, int] = {}
        self._elsewhere: dict[str, int] = {}
        self._process = f"{os.getpid()}-{secrets.token_hex(4)}"

    def enter(self, address: str) -> float:
        """A request or websocket of this visitor begins. Returns 0 when it may go on, until `leave`; else the seconds
        after which to try again."""
        key = limited(address)
        if not key:
            return 0.0
        if wait := self._addresses.take(key):
            return wait
        count, limit = self._open.get(key, 0), settings.PORTICO_CONNECTIONS_PER_ADDRESS
        if limit and count + self._elsewhere.get(key, 0) >= limit:
            return 1.0
        self._open[key] = count + 1
        return 0.0

    def leave(self, address: str) -> None:
        """It ended."""
        key = limited(address)
        if not key:
            return
        left = self._open[key] - 1
        if left:
            self._open[key] = left
        else:
            del self._open[key]

    def space(self, space_id: int) -> float:
        """A request to this Space. Returns as `enter`."""
        return self._spaces.take(str(space_id))

    async def keep_settled(self) -> None:
        """Settle with the other processes for ever; without Redis there are none."""
        if not settings.REDIS_URL:
            await asyncio.Event().wait()
        redis = Redis.from_url(settings.REDIS_URL, socket_timeout=1.0, socket_connect_timeout=1.0)
        reachable = True
        try:
            while True:
                try:
                    await self.settle(redis)
                    reachable = True
                except (RedisError, OSError) as error:
                    self._elsewhere, self._exchanges.elsewhere = {}, {}
                    if reachable:
                        log.warning("limits are each process' own: Redis does not answer", error=repr(error))
                    reachable = False
                    await asyncio.sleep(REDIS_RETRY_SECONDS)
                await asyncio.sleep(SETTLE_SECONDS)
        finally:
            await redis.aclose()

    async def settle(self, redis: Redis) -> None:
        """Tell what was spent and is open here, and hear what all have left and the others have open."""
        of_spaces = {str(space_id): count for space_id, count in self._exchanges.counts().items()}
        self._elsewhere = await self._settle(redis, self._addresses, self._open)
        elsewhere = await self._settle(redis, self._spaces, of_spaces)
        self._exchanges.elsewhere = {int(key): count for key, count in elsewhere.items()}

    async def _settle(self, redis: Redis, buckets: Buckets, opened: Mapping[str, int]) -> dict[str, int]:
        rate, burst, spent = buckets.rate or 1.0, buckets.burst, buckets.spent()
        keys = [*spent, *(k for k in nlargest(SETTLED_AT_ONCE, opened, key=opened.__getitem__) if k not in spent)]
        if not keys:
            return {}
        arguments: list[Any] = [self._process, ELSEWHERE_SECONDS]
        for key in keys:
            arguments += (rate, burst, spent.get(key, 0), opened.get(key, 0))
        names = [f"portico:limit:{buckets.kind}:{key}" for key in keys]
        said = await redis.eval(SCRIPT, len(names), *names, *arguments)
        elsewhere = {}
        for number, key in enumerate(keys):
            buckets.settle(key, float(said[2 * number]))
            if others := int(said[2 * number + 1]):
                elsewhere[key] = others
        return elsewhere


def retry_after(seconds: float) -> int:
    """For `Retry-After`, which has whole seconds."""
    return max(1, math.ceil(seconds))
