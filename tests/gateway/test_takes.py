"""What is taken of a page, and which pages are found out to depend on who asks."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from asgiref.sync import sync_to_async
from django.utils import timezone

from apps.builds.models import Environment
from apps.gateway import takes
from apps.gateway.asgi import start
from apps.gateway.models import Snapshot
from apps.runtime.services import worker_ready
from apps.spaces.models import Space, Stage
from apps.spaces.variables import delete_variable, set_variable
from tests.gateway.asgi_client import get
from tests.gateway.conftest import deploy
from tests.gateway.gradio_like import FONT, SCRIPT, Site

pytestmark = pytest.mark.django_db(transaction=True)


async def take_from(app: web.Application, site: Site) -> Snapshot | None:
    """What is taken where the site's worker is this app."""
    async with TestServer(app) as server:
        assert server.port is not None
        site.port = server.port
        return await site.take()


async def test_pages_config_and_description_are_taken_and_nothing_else(gradio_site: Site) -> None:
    found = await gradio_site.take()
    assert found is not None and found.digest and not found.refusal and found.has_plain_assets
    route = await gradio_site.route()
    assert route.snapshot == found.digest and route.assets
    asked = set(gradio_site.app.asked)
    assert {"/", "/about", "/config", "/gradio_api/info", "/theme.css"} <= asked
    assert not any("escape" in path or path.startswith("/gradio_api/queue") for path in asked)


async def test_a_worker_that_remembers_a_host_remembers_the_spaces_own(gradio_site: Site) -> None:
    """Gradio answers the first host that asked for the description of its API to everybody, for ever."""
    await gradio_site.take()
    assert gradio_site.app.remembered == gradio_site.space.host


@pytest.mark.parametrize(
    ("habit", "why"),
    [
        ({"headers": {"/": {"Set-Cookie": "visit=1"}}}, "sets a cookie"),
        ({"headers": {"/config": {"Set-Cookie": "visit=1"}}}, "/config sets a cookie"),
        ({"headers": {"/": {"Vary": "Accept-Language"}}}, "varies by accept-language"),
        ({"headers": {"/": {"Vary": "*"}}}, "varies by *"),
        ({"headers": {"/": {"Cache-Control": "max-age=3, private"}}}, "must not be stored"),
        ({"headers": {"/config": {"Cache-Control": "no-store"}}}, "must not be stored"),
        ({"headers": {"/": {"Content-Encoding": "gzip"}}}, "compressed"),
        ({"tells": {"/": "Accept-Language"}}, "differs from visitor to visitor"),
        ({"tells": {"/": "User-Agent"}}, "differs from visitor to visitor"),
        ({"tells": {"/": "X-Forwarded-For"}}, "differs from visitor to visitor"),
        ({"tells": {"/about": "DNT"}}, "/about differs"),
        ({"status": {"/": 302}}, "answers 302"),
        ({"status": {"/": 500}}, "answers 500"),
        ({"status": {"/config": 401}}, "asks for a login"),
        ({"status": {"/config": 404}}, "no Gradio page"),
        ({"config": {"auth_required": True, "components": []}}, "asks for a login"),
        ({"config": {"username": "ada", "components": []}}, "asks for a login"),
        ({"config": {"components": [{"id": 1, "type": "loginbutton"}]}}, "asks for a login"),
        ({"config": {"components": "none"}}, "no Gradio page"),
        ({"page": "x" * (takes.MAX_ANSWER_BYTES + 1)}, "more than 4 MiB"),
        ({"page": "x" * (takes.MAX_ANSWER_BYTES - 1)}, "more than 8 MiB"),
    ],
)
async def test_a_page_that_depends_on_who_asks_is_found_out(gradio_site: Site, habit: dict[str, Any], why: str) -> None:
    for name, value in habit.items():
        setattr(gradio_site.app, name, value)
    found = await gradio_site.take()
    assert found is not None
    assert (found.digest, bytes(found.content)) == ("", b"")
    assert why in found.refusal
    assert (await gradio_site.route()).snapshot == ""


async def test_what_changes_from_moment_to_moment_is_found_out(gradio_site: Site) -> None:
    class Clock(dict[str, Any]):
        ticks = 0

    async def tick(request: web.Request, answer: Any = gradio_site.app.answer) -> web.Response:
        Clock.ticks += request.path == "/"
        gradio_site.app.page = f"<p>{Clock.ticks}"
        return await answer(request)  # type: ignore[no-any-return]

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", tick)
    found = await take_from(app, gradio_site)
    assert found is not None and "moment to moment" in found.refusal


@pytest.mark.parametrize(
    "habit",
    [{"headers": {"/theme.css": {"Set-Cookie": "a=1"}}}, {"status": {"/gradio_api/info": 401}}],
)
async def test_the_page_is_drawn_without_what_is_not_its_own(gradio_site: Site, habit: dict[str, Any]) -> None:
    for name, value in habit.items():
        setattr(gradio_site.app, name, value)
    found = await gradio_site.take()
    assert found is not None and found.digest


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["components"].append({"id": 3, "type": "image"}),
        lambda config: config["components"][0].update(id=9),
        lambda config: config["dependencies"][0].update(inputs=[2]),
        lambda config: config["dependencies"][0].update(api_name="other"),
        lambda config: config.update(version="6.32.0"),
    ],
)
async def test_a_page_made_of_other_parts_at_its_next_start_is_not_drawn_again(gradio_site: Site, change: Any) -> None:
    first = await gradio_site.take()
    assert first is not None and first.digest
    change(gradio_site.app.config)
    second = await gradio_site.take()
    assert second is not None and (second.digest, second.refusal) == ("", takes.OTHER_PARTS)
    third = await gradio_site.take()
    assert third is not None and third.refusal == takes.OTHER_PARTS, "nor when it is the same for once"


async def test_values_may_differ_from_start_to_start(gradio_site: Site) -> None:
    first = await gradio_site.take()
    gradio_site.app.config.update(app_id=2, title="today")
    second = await gradio_site.take()
    assert first is not None and second is not None
    assert second.digest and second.digest != first.digest


async def test_it_is_taken_at_two_starts_then_now_and_then(gradio_site: Site) -> None:
    is_due = sync_to_async(takes.is_due)
    for _ in range(2):
        assert await is_due(gradio_site.space)
        await gradio_site.take()
    assert not await is_due(gradio_site.space)
    await sync_to_async(Snapshot.objects.update)(taken_at=timezone.now() - timedelta(hours=2))
    assert await is_due(gradio_site.space)


async def test_a_refused_page_is_not_asked_at_every_start(gradio_site: Site) -> None:
    gradio_site.app.headers["/"] = {"Set-Cookie": "visit=1"}
    await gradio_site.take()
    assert not await sync_to_async(takes.is_due)(gradio_site.space)


async def test_a_secret_that_changes_makes_it_untrue_at_once(gradio_site: Site) -> None:
    await gradio_site.take()
    assert (await gradio_site.route()).snapshot
    await sync_to_async(set_variable)(gradio_site.space, "TITLE", "new", secret=True)
    assert (await gradio_site.route()).snapshot == ""
    assert await takes.take_of(gradio_site.space.pk) is False, "the worker has the old one"
    assert await sync_to_async(takes.is_due)(gradio_site.space)
    await gradio_site.take()
    assert (await gradio_site.route()).snapshot
    await sync_to_async(delete_variable)(gradio_site.space, "TITLE")
    assert (await gradio_site.route()).snapshot == ""


async def test_a_new_deployment_has_none_of_the_old(gradio_site: Site) -> None:
    await gradio_site.take()
    environment = await sync_to_async(Environment.objects.get)()
    await sync_to_async(deploy)(gradio_site.space, environment=environment)
    route = await gradio_site.route()
    assert (route.snapshot, route.assets) == ("", "")
    before = len(gradio_site.app.asked)
    assert await takes.take_of(gradio_site.space.pk) is False, "the worker that is ready runs the old one"
    assert len(gradio_site.app.asked) == before


async def test_a_deployment_that_comes_while_it_is_taken_keeps_nothing(
    gradio_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takes, "BETWEEN_SECONDS", 0.3)
    await gradio_site.start()
    taking = asyncio.create_task(takes.take_of(gradio_site.space.pk))
    await asyncio.sleep(0.1)
    await sync_to_async(deploy)(gradio_site.space)
    assert await taking is False
    assert not await sync_to_async(Snapshot.objects.exists)()


async def test_a_worker_that_is_gone_changes_nothing(gradio_site: Site) -> None:
    worker = await gradio_site.start()
    del gradio_site.agent.workers[worker.pk]
    assert await takes.take_of(gradio_site.space.pk) is False
    assert await gradio_site.snapshot() is None


@pytest.mark.parametrize("habit", ["other bytes", "all paths", "no page", "no such file here"])
async def test_files_are_the_apps_own_where_gradios_do_not_answer(gradio_site: Site, habit: str) -> None:
    if habit == "other bytes":
        gradio_site.app.files[SCRIPT] = b"mine"
    elif habit == "all paths":
        gradio_site.app.files = {**gradio_site.app.files}
        gradio_site.app.answer = _everything(gradio_site.app.answer)  # type: ignore[method-assign]
    elif habit == "no page":
        gradio_site.app.page = "<p>mine"
    else:
        gradio_site.app.page = gradio_site.app.page.replace(SCRIPT, "assets/mine-12345678.js")
        gradio_site.app.files["assets/mine-12345678.js"] = b"mine"
    found = await take_from(gradio_site.app.app(), gradio_site)
    assert found is not None and not found.has_plain_assets
    assert (await gradio_site.route()).assets == ""


def _everything(answer: Any) -> Any:
    async def always(request: web.Request) -> web.Response:
        found: web.Response = await answer(request)
        return found if found.status != 404 else web.Response(text="mine")

    return always


async def test_a_login_keeps_the_page_back_and_not_the_files(gradio_site: Site) -> None:
    gradio_site.app.status["/config"] = 401
    found = await gradio_site.take()
    assert found is not None and found.refusal and found.has_plain_assets
    answer = await get(gradio_site.space.host, f"/{FONT}")
    assert answer.status == 200 and f"/{FONT}" not in gradio_site.app.asked


async def test_a_worker_that_is_ready_has_its_page_taken_by_the_gateway(
    gradio_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takes, "SETTLE_SECONDS", 0.0)
    start()
    await asyncio.sleep(0.2)  # the listener joins its group
    worker = await gradio_site.start()
    await sync_to_async(Space.objects.filter(pk=gradio_site.space.pk).update)(stage=Stage.APP_STARTING)
    assert await sync_to_async(worker_ready)(worker.pk, gradio_site.space.pk, gradio_site.port)
    async with asyncio.timeout(10):
        while await gradio_site.snapshot() is None:
            await asyncio.sleep(0.02)


async def test_one_workers_page_is_taken_once_however_many_gateways_hear_of_it(gradio_site: Site) -> None:
    await gradio_site.start()
    assert await takes.take_of(gradio_site.space.pk) is True
    assert await takes.take_of(gradio_site.space.pk) is False
    found = await gradio_site.snapshot()
    assert found is not None and found.starts == 1, "nor is it taken for a second start"


async def test_slow_apps_hold_up_no_more_than_a_few_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takes, "SETTLE_SECONDS", 0.0)
    running, most, held = 0, 0, asyncio.Event()

    async def slow(space_id: int) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await held.wait()
        running -= 1
        return space_id == 1

    monkeypatch.setattr(takes, "take_of", slow)
    taker = takes.Taker()
    for space_id in (1, 2, 3, 3, 4):
        taker.due(space_id)
    await asyncio.sleep(0.05)
    assert most == takes.AT_ONCE and len(taker._tasks) == 4
    held.set()
    await asyncio.sleep(0.05)
    assert not taker._tasks
    held.clear()
    taker.due(5)
    await asyncio.sleep(0.02)
    await taker.close()
    assert not taker._tasks


async def test_an_app_of_many_large_pages_is_no_burden(gradio_site: Site) -> None:
    """What it answers is bounded as it comes, not when all of it is here."""
    gradio_site.app.page = "x" * (takes.MAX_ANSWER_BYTES - 1)
    gradio_site.app.config["pages"] = [["about", "About", True]] * 20
    found = await gradio_site.take()
    assert found is not None and "more than 8 MiB" in found.refusal
    assert gradio_site.app.asked.count("/about") <= 2
