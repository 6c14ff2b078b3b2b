"""Figures: counted on the event loop, written to a file, read by whichever process is asked."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from apps.gateway import metrics
from apps.gateway.asgi import current
from apps.gateway.metrics import Metrics
from apps.spaces.models import Space
from tests.gateway.asgi_client import ask, begin, get
from tests.gateway.conftest import StandInAgent
from tests.gateway.test_observe import seen

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_figures() -> Iterator[None]:
    yield
    for path in metrics.folder().glob("*"):
        path.unlink()


def read(**headers: str) -> dict[tuple[str, ...], float]:
    """Samples of `/metrics`, by name and labels."""
    answer = Client().get("/metrics", headers=headers)
    assert answer.status_code == 200
    return {
        (sample.name, *(v for k, v in sorted(sample.labels.items()) if k != "process")): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


async def now() -> dict[tuple[str, ...], float]:
    await current().recorder.flush()
    await current().metrics.write()
    return await sync_to_async(read)()


async def test_requests_bytes_and_times_are_counted_by_space(space: Space, agent: StandInAgent) -> None:
    await sync_to_async(Space.objects.filter(pk=space.pk).update)(stage="SLEEPING")
    answer = await ask("POST", space.host, "/x", body=b"12345")
    await get(space.host, "/nothing?status=404")
    await get("no-such.spaces.localhost:8000", "/x")
    stream = begin("GET", space.host, "/events")
    await stream.next_chunk()
    found = await now()
    slug = space.slug
    assert found["portico_requests_total", "woke", slug, "2xx"] == 1
    assert found["portico_requests_total", "ok", slug, "4xx"] == 1
    assert found["portico_requests_total", "refused", "", "4xx"] == 1
    assert found["portico_received_bytes_total", slug] == 5
    assert found["portico_sent_bytes_total", slug] == len(answer.body)
    assert found["portico_wakes_total", slug] == 1
    assert found["portico_open_exchanges", slug] == 1
    assert found["portico_worker_connections",] >= 1 and found["portico_waiting_requests",] == 0
    assert found["portico_first_byte_seconds_count", slug] == 2
    assert found["portico_first_byte_seconds_bucket", "+Inf", slug] == 2
    assert found["portico_queue_wait_seconds_count",] == 1
    stream.disconnect()
    await stream.end()
    assert ("portico_open_exchanges", slug) not in await now()


def test_processes_are_told_apart_and_those_that_ended_are_forgotten() -> None:
    mine = Metrics(lambda: ({}, {}))
    mine.see(seen(slug="ada/x"))
    metrics._write(json.dumps(mine.snapshot()))
    other, old = metrics.folder() / "1.json", metrics.folder() / "2.json"
    for path in (other, old):
        path.write_text(json.dumps(mine.snapshot()))
    long_ago = time.time() - 60
    os.utime(old, (long_ago, long_ago))
    text = Client().get("/metrics").content.decode()
    families = {f.name: f for f in text_string_to_metric_families(text)}
    assert {s.labels["process"] for s in families["portico_requests"].samples} == {"1", str(os.getpid())}
    assert not old.exists()


def test_the_busiest_spaces_have_names_and_the_rest_is_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "NAMED", 3)
    counted = Metrics(lambda: ({"ada/9": 2, "ada/8": 3}, {}))
    counted.see(seen(slug=""))
    for number in range(10):
        for _ in range(number + 1):
            counted.see(seen(slug=f"ada/{number}"))
    spaces = counted.snapshot()["spaces"]
    assert len(spaces) <= 5 and sum(sum(of["requests"].values()) for of in spaces.values()) == 56
    monkeypatch.setattr(metrics, "RANK_SECONDS", 0.0)
    counted.snapshot()
    monkeypatch.setattr(metrics, "RANK_SECONDS", 60.0)
    for number in (9, 8, 7):
        counted.see(seen(slug=f"ada/{number}"))
    after = counted.snapshot()
    assert {"ada/9", "ada/8", "ada/7"} <= set(after["spaces"]) and len(after["spaces"]) <= 5
    assert after["open"] == {"ada/9": 2, "ada/8": 3}


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("10.0.0.1", {}, 403),
        ("203.0.113.9", {}, 403),
        ("", {}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("127.0.0.1", {"Via": "1.1 proxy"}, 403),
    ],
)
def test_without_a_token_this_machine_alone_may_read(address: str, headers: Any, status: int) -> None:
    answer = Client(REMOTE_ADDR=address).get("/metrics", headers=headers)
    assert answer.status_code == status and (status == 200) is (b"portico_spaces" in answer.content)


@pytest.mark.parametrize(
    ("sent", "status"), [("Bearer s3cret", 200), ("Bearer wrong", 403), ("s3cret", 403), ("", 403), ("Bearer é", 403)]
)
def test_with_a_token_only_who_sends_it_may_read(settings: Any, sent: str, status: int) -> None:
    settings.PORTICO_METRICS_TOKEN = "s3cret"
    assert Client().get("/metrics", headers={"Authorization": sent}).status_code == status
    assert Client(REMOTE_ADDR="203.0.113.9").get("/metrics", headers={"Authorization": sent}).status_code == status
