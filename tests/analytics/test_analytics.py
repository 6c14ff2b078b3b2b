"""How much a Space is used: counted by the gateway, kept by day, shown to its owner."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.db.utils import OperationalError
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import User
from apps.analytics import services, tasks
from apps.analytics.models import Day
from apps.gateway import usage
from apps.gateway.asgi import current
from apps.gateway.usage import Tally, Usage
from apps.spaces.models import Space
from tests.gateway.asgi_client import ask, get
from tests.gateway.conftest import MakeSpace, StandInAgent, agent, make_space, owner, space, stranger, upstream
from tests.gateway.test_observe import seen

__all__ = ["agent", "make_space", "owner", "space", "stranger", "upstream"]
pytestmark = pytest.mark.django_db(transaction=True)
NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
TODAY = datetime.now(UTC).date()


async def kept(space: Space) -> Day:
    await current().recorder.flush()
    await current().usage.keep()
    return await sync_to_async(Day.objects.get)(space=space)


async def test_what_visitors_do_is_counted_and_added_up(space: Space, agent: StandInAgent) -> None:
    await sync_to_async(Space.objects.filter(pk=space.pk).update)(stage="SLEEPING")
    page = await get(space.host, "/page", headers=NAVIGATION)
    call = await ask("POST", space.host, "/gradio_api/queue/join", body=b"{}")
    await ask("POST", space.host, "/upload", body=b"12345")
    await get(space.host, "/nothing?status=500")
    await get("no-such.spaces.localhost:8000", "/", headers=NAVIGATION)
    first = await kept(space)
    assert (first.visits, first.calls, first.wakes, first.errors) == (1, 1, 1, 1)
    assert first.bytes_in == 7 and first.bytes_out >= len(page.body) + len(call.body)
    assert first.date == TODAY
    await ask("POST", space.host, "/gradio_api/queue/join", body=b"{}")
    assert (await kept(space)).calls == 2
    assert await sync_to_async(Day.objects.count)() == 1


async def test_no_request_waits_for_the_database_and_a_background_job_keeps_it(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "KEEP_SECONDS", 0.1)
    await get(space.host, "/page", headers=NAVIGATION)
    for _ in range(50):
        await asyncio.sleep(0.05)
        if await sync_to_async(Day.objects.filter(space=space, visits=1).exists)():
            return
    raise AssertionError("not kept")


def test_many_spaces_are_added_in_few_queries(make_space: MakeSpace) -> None:
    spaces = [make_space() for _ in range(20)]
    tallies = {(s.pk, TODAY): Tally(visits=n) for n, s in enumerate(spaces)}
    services.add(tallies)
    with CaptureQueriesContext(connection) as queries:
        services.add(tallies)
    assert len([q for q in queries if q["sql"].startswith(("INSERT", "UPDATE"))]) == 2
    assert [Day.objects.get(space=s).visits for s in spaces] == [2 * n for n in range(20)]


def test_a_space_that_is_gone_is_not_kept_and_the_others_are(make_space: MakeSpace) -> None:
    there = make_space()
    services.add({(there.pk, TODAY): Tally(visits=1), (10**9, TODAY): Tally(visits=1)})
    assert list(Day.objects.values_list("space_id", "visits")) == [(there.pk, 1)]


async def test_while_the_database_is_away_counting_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[Any] = []

    def away(tallies: Any) -> None:
        raise OperationalError("away")

    counted = Usage()
    monkeypatch.setattr(usage, "_keeper", away)
    counted.see(seen(is_page=True, at=0.0))
    with pytest.raises(OperationalError):
        await counted.keep()
    counted.see(seen(is_page=True, at=0.0))
    counted.see(seen(is_page=True, at=86_400.0))
    monkeypatch.setattr(usage, "_keeper", got.append)
    await counted.keep()
    await counted.keep()
    assert got == [{(1, date(1970, 1, 1)): Tally(visits=2), (1, date(1970, 1, 2)): Tally(visits=1)}]


def test_days_are_forgotten_after_400(make_space: MakeSpace) -> None:
    made = make_space()
    for days in (399, 400, 401, 500):
        Day.objects.create(space=made, date=TODAY - timedelta(days=days))
    tasks.prune()
    assert Day.objects.count() == 2


def test_the_owner_sees_thirty_days(make_space: MakeSpace, owner: User) -> None:
    made = make_space()
    client = Client()
    client.force_login(owner)
    address = f"/spaces/{made.slug}/analytics"
    assert "Nobody has used this Space" in client.get(address).content.decode()
    Day.objects.create(space=made, date=TODAY, visits=1234, calls=6, wakes=2, errors=1, bytes_out=2048)
    Day.objects.create(space=made, date=TODAY - timedelta(days=29), visits=310)
    Day.objects.create(space=made, date=TODAY - timedelta(days=30), visits=77_777)
    page = client.get(address).content.decode()
    assert page.count('<th scope="row"><time') == 30 and "1,234" in page and "1,544" in page and "77,777" not in page
    assert '<rect width="100" ' in page and '<rect width="25" ' in page
    assert f'href="{address}" aria-current="page"' in page
    assert address in client.get(f"/spaces/{made.slug}").content.decode()


@pytest.mark.parametrize("visibility", ["public", "private"])
def test_nobody_else_does(make_space: MakeSpace, stranger: User, visibility: str) -> None:
    made = make_space(visibility=visibility)
    client = Client()
    address = f"/spaces/{made.slug}/analytics"
    nobody = client.get(address)
    client.force_login(stranger)
    somebody = client.get(address)
    if visibility == "public":
        assert nobody.status_code == 302 and somebody.status_code == 403
        assert address not in client.get(f"/spaces/{made.slug}").content.decode()
    else:
        assert (
            nobody.status_code == somebody.status_code == client.get("/spaces/ada/nothing/analytics").status_code == 404
        )


def test_nothing_of_a_visitor_is_kept() -> None:
    assert {f.name for f in Day._meta.get_fields()} == {"id", "space", "date", *services.FIELDS}
