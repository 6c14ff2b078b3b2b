"""The gateway's figures for Prometheus.

Each web process counts in plain dictionaries on its event loop and writes them into a file of its own once a second.
Whichever process is asked for `/metrics` reads the files of all on this machine: nobody waits for a lock. A `process`
label keeps them apart, so that a counter never goes down when a process ends; sums are Prometheus' to make.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from apps.gateway.observe import Seen

WRITE_SECONDS = 1.0
FRESH_SECONDS = 15.0
"""Figures of a process that has not written for so long are not shown."""
NAMED = 200
"""How many Spaces a process names; the rest is `other`. Each is some twenty series."""
RANK_SECONDS = 60.0
OTHER = "other"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds; the last bucket is everything longer."""


class Histogram:
    """Counts by bucket, not cumulated, and the sum of all values."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(BUCKETS, value)] += 1
        self.total += value


class OfSpace:
    """What is counted of one Space."""

    __slots__ = ("bytes_in", "bytes_out", "events", "first_byte", "requests")

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        """By `<outcome> <status class>`."""
        self.events: Counter[str] = Counter()
        self.bytes_in = self.bytes_out = 0
        self.first_byte = Histogram()


class Metrics:
    """The figures of one event loop.

    Args:
        gauges: asked at each writing: what is open, by Space's name, and other numbers.
    """

    def __init__(self, gauges: Callable[[], tuple[dict[str, int], dict[str, int]]]) -> None:
        self._gauges = gauges
        self._spaces = {"": OfSpace(), OTHER: OfSpace()}
        self._recent: Counter[str] = Counter()
        self._ranked_at = time.monotonic()
        self._wait = Histogram()

    def see(self, seen: Seen) -> None:
        """Count an exchange."""
        slug = seen.slug
        self._recent[slug] += 1
        found = self._spaces.get(slug) or self._place(slug)
        found.requests[f"{seen.outcome.value} {seen.status // 100}xx"] += 1
        found.bytes_in += seen.bytes_in
        found.bytes_out += seen.bytes_out
        if seen.first is not None:
            found.first_byte.observe(seen.first)
        if seen.waited is not None:
            self._wait.observe(seen.waited)

    def count(self, event: str, slug: str) -> None:
        """Something happened to a Space: `wakes`, or `circuit_opened`."""
        (self._spaces.get(slug) or self._place(slug)).events[event] += 1

    def _place(self, slug: str) -> OfSpace:
        if len(self._spaces) >= NAMED + 2:  # with the two that are always there
            return self._spaces[OTHER]
        return self._spaces.setdefault(slug, OfSpace())

    def _rank(self) -> None:
        """Let the busiest of the last minute have the names. A Space that loses its own is counted as `other` from
        now on; its series end."""
        busiest = [slug for slug, _ in self._recent.most_common(NAMED) if slug]
        without = [slug for slug in busiest if slug not in self._spaces]
        room = NAMED + 2 - len(self._spaces)
        for slug in sorted((s for s in self._spaces if s not in (OTHER, "")), key=self._recent.__getitem__):
            if room >= len(without) or slug in busiest:
                break
            del self._spaces[slug]
            room += 1
        self._recent.clear()

    def snapshot(self) -> dict[str, Any]:
        """What goes into the file."""
        if time.monotonic() - self._ranked_at >= RANK_SECONDS:
            self._ranked_at = time.monotonic()
            self._rank()
        opened, others = self._gauges()
        named: Counter[str] = Counter()
        for slug, count in opened.items():
            named[slug if slug in self._spaces else OTHER] += count
        return {
            "spaces": {
                slug: {
                    "requests": of.requests,
                    "events": of.events,
                    "bytes_in": of.bytes_in,
                    "bytes_out": of.bytes_out,
                    "first_byte": [of.first_byte.counts, of.first_byte.total],
                }
                for slug, of in self._spaces.items()
            },
            "wait": [self._wait.counts, self._wait.total],
            "open": named,
            "gauges": others,
        }

    async def write(self) -> None:
        """Write the figures where every process of this machine finds them."""
        text = json.dumps(self.snapshot())
        await asyncio.to_thread(_write, text)

    async def keep_written(self) -> None:
        """Write them for ever."""
        while True:
            await self.write()
            await asyncio.sleep(WRITE_SECONDS)


def folder() -> Path:
    return settings.PORTICO_RUN / "metrics"


def _write(text: str) -> None:
    folder().mkdir(exist_ok=True, mode=0o700)
    path = folder() / f"{os.getpid()}.json"
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def read_all() -> dict[str, dict[str, Any]]:
    """The figures of this machine's web processes, by process id; files of those that ended are removed."""
    found = {}
    for path in folder().glob("*.json"):
        try:
            if time.time() - path.stat().st_mtime > FRESH_SECONDS:
                path.unlink(missing_ok=True)
            else:
                found[path.stem] = json.loads(path.read_text())
        except FileNotFoundError:
            continue
    return found


class GatewayCollector:
    """Figures of all web processes of this machine, as prometheus_client asks for them."""

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        label = ["process", "space"]
        requests = CounterMetricFamily(
            "portico_requests", "Requests to Spaces that ended.", labels=[*label, "outcome", "status"]
        )
        bytes_in = CounterMetricFamily("portico_received_bytes", "Bytes of requests' bodies.", labels=label)
        bytes_out = CounterMetricFamily("portico_sent_bytes", "Bytes of answers' bodies.", labels=label)
        wakes = CounterMetricFamily("portico_wakes", "Times a sleeping Space was woken.", labels=label)
        opened = CounterMetricFamily("portico_circuit_opened", "Times a failing app was cut off.", labels=label)
        first = HistogramMetricFamily("portico_first_byte_seconds", "Until an answer begins.", labels=label)
        wait = HistogramMetricFamily("portico_queue_wait_seconds", "Until there is a worker.", labels=["process"])
        current = GaugeMetricFamily("portico_open_exchanges", "Requests and websockets under way.", labels=label)
        gauges: dict[str, Any] = {}
        for process, figures in read_all().items():
            for space, of in figures["spaces"].items():
                for key, count in of["requests"].items():
                    requests.add_metric([process, space, *key.split(" ")], count)
                bytes_in.add_metric([process, space], of["bytes_in"])
                bytes_out.add_metric([process, space], of["bytes_out"])
                for family, event in ((wakes, "wakes"), (opened, "circuit_opened")):
                    if event in of["events"]:
                        family.add_metric([process, space], of["events"][event])
                first.add_metric([process, space], *_cumulated(*of["first_byte"]))
            wait.add_metric([process], *_cumulated(*figures["wait"]))
            for space, count in figures["open"].items():
                current.add_metric([process, space], count)
            for name, value in figures["gauges"].items():
                family = gauges.setdefault(name, GaugeMetricFamily(f"portico_{name}", GAUGES[name], labels=["process"]))
                family.add_metric([process], value)
        yield from (requests, bytes_in, bytes_out, wakes, opened, first, wait, current, *gauges.values())


GAUGES = {
    "worker_connections": "Open connections to workers.",
    "waiting_requests": "Requests that wait for a worker now.",
}


def _cumulated(counts: list[int], total: float) -> tuple[list[tuple[str, int]], float]:
    """As Prometheus' text format has a histogram: each bucket counts all that is not larger."""
    so_far, buckets = 0, []
    for limit, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
        so_far += count
        buckets.append((limit, so_far))
    return buckets, total
