"""What an owner may choose of hardware and sleep, and what the administrator defines."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User
from apps.runtime.models import Node, Storage, Worker
from apps.runtime.selectors import worker_limits
from apps.spaces import plans, units
from apps.spaces.models import Plan, Space
from tests.running_agent import deploy

GIB = 1024**3


@pytest.fixture
def browser(client: Client, ada: User, space: Space) -> Client:
    client.force_login(ada)
    return client


@pytest.fixture
def small(db: None) -> Plan:
    return Plan.objects.create(
        slug="small",
        name="Small",
        memory_bytes=GIB // 2,
        cpus=0.5,
        processes=64,
        disk_bytes=GIB // 4,
        sleep_seconds=300,
    )


def do(browser: Client, act: str, **fields: Any) -> str:
    answer = browser.post("/spaces/ada/demo/settings", {"do": act, **fields}, follow=True)
    return answer.content.decode()


def run_with(space: Space, **given: object) -> Worker:
    """A row as a running worker has it."""
    node = Node.objects.get_or_create(name="local")[0]
    return Worker.objects.create(
        space=space, deployment=deploy(space), node=node, port=7860, state=Worker.State.READY, given=given,
        spawner_state={"way": "fork", "why_fresh": ""},
    )  # fmt: skip


def test_a_portal_that_defines_none_goes_by_its_settings(space: Space) -> None:
    plan = Plan.objects.get()
    assert (plan.slug, plan.is_default, plans.plan_of(space)) == ("cpu-basic", True, plan)
    limits = worker_limits(plan)
    assert limits.memory_bytes == settings.PORTICO_WORKER_MEMORY_BYTES
    assert (limits.cpus, limits.processes) == (settings.PORTICO_WORKER_CPUS, settings.PORTICO_WORKER_PROCESSES)
    assert (limits.disk_bytes, limits.storage_bytes) == (settings.PORTICO_WORKER_DISK_BYTES, 0)
    assert plans.sleep_seconds(space, plan) == settings.PORTICO_SLEEP_SECONDS
    Plan.objects.all().delete()
    assert worker_limits(plans.plan_of(space)) == limits, "even when it has no plan at all"


def test_there_is_one_default(small: Plan) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Plan.objects.create(slug="other", name="Other", is_default=True)
    plans.make_default(small)
    assert list(Plan.objects.filter(is_default=True)) == [small]


def test_an_owner_chooses_hardware_and_is_told_when_it_counts(browser: Client, space: Space, small: Plan) -> None:
    page = browser.get("/spaces/ada/demo/settings").content.decode()
    assert "512 MiB memory · 0.5 CPU · 256 MiB temporary disk · nothing kept · sleeps after 5 minutes" in page
    page = do(browser, "hardware", plan="small")
    assert "Its hardware is Small from its next start on. Restart it" in page
    space.refresh_from_db()
    assert space.plan == small
    do(browser, "hardware", plan="cpu-basic")
    space.refresh_from_db()
    assert space.plan is None, "the default one, whichever that will be"


@pytest.mark.parametrize("slug", ["nothing", "../x", "x" * 5000, "large"])
def test_hardware_that_is_not_offered_is_refused_with_what_is(
    browser: Client, space: Space, small: Plan, slug: str
) -> None:
    Plan.objects.create(slug="large", name="Large", for_everyone=False)
    page = do(browser, "hardware", plan=slug)
    assert "notice-error" in page and "There is: cpu-basic, small." in page
    space.refresh_from_db()
    assert space.plan is None


def test_what_staff_assigned_stays_to_be_chosen(browser: Client, space: Space, small: Plan) -> None:
    large = Plan.objects.create(slug="large", name="Large", for_everyone=False)
    assert "Large" not in browser.get("/spaces/ada/demo/settings").content.decode()
    plans.choose_plan(space, "large", by_staff=True)
    assert large in plans.plans_for(space)
    assert "notice-success" in do(browser, "hardware", plan="large")


def test_a_worker_that_runs_with_something_else_is_told_with_a_restart(
    browser: Client, space: Space, small: Plan
) -> None:
    told = "It still runs with what it was started with"
    given = {"plan": "cpu-basic", **plans.resources(plans.default_plan())}
    worker = run_with(space, **given)
    assert told not in browser.get("/spaces/ada/demo/settings").content.decode()
    page = do(browser, "hardware", plan="small")
    assert told in page and "Restart now" in page
    Worker.objects.update(given={"plan": "small", **plans.resources(small)})
    assert told not in browser.get("/spaces/ada/demo/settings").content.decode()
    Plan.objects.filter(pk="small").update(memory_bytes=GIB)
    assert told in browser.get("/spaces/ada/demo/settings").content.decode(), "the administrator changed it"
    worker.refresh_from_db()
    worker.state = Worker.State.ENDED
    worker.save()
    assert told not in browser.get("/spaces/ada/demo/settings").content.decode()


@pytest.mark.parametrize("path", ["settings", "logs"])
def test_its_pages_say_how_its_worker_was_started(browser: Client, space: Space, path: str) -> None:
    assert "data-started" not in browser.get(f"/spaces/ada/demo/{path}").content.decode()
    worker = run_with(space)
    page = browser.get(f"/spaces/ada/demo/{path}").content.decode()
    assert "Started <time" in page and "by a fork of a process that had imported its packages" in page
    worker.spawner_state = {"way": "fresh", "why_fresh": "it starts 3 <threads>"}
    worker.state = Worker.State.ENDED
    worker.save()
    page = browser.get(f"/spaces/ada/demo/{path}").content.decode()
    assert "Last started <time" in page and "by a fresh interpreter: it starts 3 &lt;threads&gt;" in page


def test_several_workers_are_told_in_plain_words(browser: Client, space: Space, small: Plan) -> None:
    assert "workers" not in plans.describe(small)
    Plan.objects.filter(pk="small").update(replicas=3, storage_bytes=GIB)
    plans.choose_plan(space, "small")
    words = plans.describe(Plan.objects.get(pk="small"))
    assert words.startswith("3 workers (replicas), each with ") and "1 GiB kept at /data for all of them" in words
    page = browser.get("/spaces/ada/demo/settings").content.decode()
    assert words in page and "data-replicas" not in page, "asleep"
    given = {"plan": "small", **plans.resources(plans.plan_of(space))}
    run_with(space, **given)
    assert "1 of 3 workers answers now." in browser.get("/spaces/ada/demo/settings").content.decode()
    run_with(space, **given)
    Worker.objects.filter(pk=run_with(space, **given).pk).update(state=Worker.State.STARTING)
    assert "2 of 3 workers answer now." in browser.get("/spaces/ada/demo/settings").content.decode()
    Worker.objects.filter(pk=run_with(space, **given).pk).update(state=Worker.State.ENDED)
    page = browser.get("/spaces/ada/demo/settings").content.decode()
    assert "2 of 3 workers answer now." in page and "Last started" not in page, "one that ended is not the Space"
    Plan.objects.filter(pk="small").update(replicas=2)
    assert "Restart now" in browser.get("/spaces/ada/demo/settings").content.decode()


def test_sleep_times_are_those_its_hardware_allows(browser: Client, space: Space, small: Plan) -> None:
    plans.choose_plan(space, "small")
    Plan.objects.filter(pk="small").update(longest_sleep_seconds=3600)
    page = browser.get("/spaces/ada/demo/settings").content.decode()
    assert "The default, 5 minutes" in page and '"3600"' in page
    assert '"86400"' not in page and "Never" not in page
    for wrong in ("86400", "0", "-1", "soon", ""):
        assert "Choose one of the times." in do(browser, "sleep", sleep_seconds=wrong)
    do(browser, "sleep", sleep_seconds="3600")
    space.refresh_from_db()
    assert plans.sleep_seconds(space, plans.plan_of(space)) == 3600
    Plan.objects.filter(pk="small").update(longest_sleep_seconds=600)
    space.refresh_from_db()
    assert plans.sleep_seconds(space, plans.plan_of(space)) == 600, "as far as it allows"
    Plan.objects.filter(pk="small").update(may_never_sleep=True, longest_sleep_seconds=None)
    do(browser, "sleep", sleep_seconds="0")
    space.refresh_from_db()
    assert plans.sleep_seconds(space, plans.plan_of(space)) == plans.NEVER
    Plan.objects.filter(pk="small").update(may_never_sleep=False)
    space.refresh_from_db()
    assert plans.sleep_seconds(space, plans.plan_of(space)) == 300


def test_a_plan_may_leave_no_choice_of_sleep(browser: Client, space: Space, small: Plan) -> None:
    Space.objects.update(sleep_seconds=3600)
    Plan.objects.filter(pk="small").update(may_choose_sleep=False)
    do(browser, "hardware", plan="small")
    space.refresh_from_db()
    assert plans.sleep_seconds(space, plans.plan_of(space)) == 300
    assert "leaves no other choice" in browser.get("/spaces/ada/demo/settings").content.decode()
    with pytest.raises(ValidationError, match="With the hardware Small, Spaces sleep after 5 minutes"):
        plans.set_sleep(space, 3600)


def test_an_api_may_ask_for_other_times_within_bounds(space: Space, small: Plan) -> None:
    plans.set_sleep(space, 1234)
    plans.choose_plan(space, "small")
    Plan.objects.filter(pk="small").update(longest_sleep_seconds=3600)
    space.refresh_from_db()
    for seconds, told in ((30, "at least 1 minute"), (0, "every Space sleeps some time"), (7200, "at most 1 hour")):
        with pytest.raises(ValidationError, match=told):
            plans.set_sleep(space, seconds)
    assert space.sleep_seconds == 1234


def test_less_storage_than_it_fills_is_refused_and_none_leaves_the_files(browser: Client, space: Space) -> None:
    for slug, size in (("keeps", GIB), ("keeps-less", GIB // 4)):
        Plan.objects.create(slug=slug, name=slug, storage_bytes=size)
    plans.choose_plan(space, "keeps")
    assert "0 bytes of 1 GiB used" in browser.get("/spaces/ada/demo/settings").content.decode()
    Storage.objects.create(name=space.repository, space=space, node="local", used_bytes=GIB // 2)
    page = do(browser, "hardware", plan="keeps-less")
    assert "This Space keeps 512 MiB at /data, and keeps-less grants 256 MiB. Delete files there first" in page
    assert "512 MiB of 1 GiB used" in page
    page = do(browser, "hardware", plan="cpu-basic")
    assert "512 MiB are kept from before" in page and "nothing is deleted" in page


def test_emptying_the_storage_needs_the_name_typed_and_is_offered_to_who_keeps_something(
    browser: Client, space: Space
) -> None:
    assert "It keeps nothing" in do(browser, "empty-storage", confirm="ada/demo")
    assert "Empty storage" not in browser.get("/spaces/ada/demo/settings").content.decode()
    Storage.objects.create(name=space.repository, space=space, node="local", used_bytes=GIB // 2)
    assert "Empty storage" in browser.get("/spaces/ada/demo/settings").content.decode()
    assert "Type ada/demo to empty its storage" in do(browser, "empty-storage", confirm="demo")
    assert not Storage.objects.get().is_to_be_emptied
    page = do(browser, "empty-storage", confirm="ada/demo")
    assert "It is being emptied." in page and "Empty storage" not in page
    assert Storage.objects.get().is_to_be_emptied, "for the agent, if the message to it is lost"
    stranger = User.objects.create_user("eve", "eve@example.org", "a-good-long-password")
    Storage.objects.update(is_to_be_emptied=False)
    browser.force_login(stranger)
    assert browser.post("/spaces/ada/demo/settings", {"do": "empty-storage", "confirm": "ada/demo"}).status_code == 403
    assert not Storage.objects.get().is_to_be_emptied


def test_a_static_space_has_no_hardware(browser: Client, space: Space) -> None:
    Space.objects.update(sdk="static")
    assert "Hardware" not in browser.get("/spaces/ada/demo/settings").content.decode()


PLAN = {
    "slug": "big", "name": "Big", "memory_bytes": "1.5 GiB", "cpus": "0.5", "disk_bytes": "200M", "storage_bytes": "",
    "replicas": "1", "sleep_seconds": "never", "longest_sleep_seconds": "", "egress": "on", "for_everyone": "on",
}  # fmt: skip


@pytest.fixture
def admin(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_superuser("root-person", "", "a-good-long-password"))
    return client


def test_the_administrator_defines_plans_in_plain_units(admin: Client) -> None:
    answer = admin.post("/admin/spaces/plan/add/", PLAN)
    assert answer.status_code == 302, answer.content.decode()
    plan = Plan.objects.get(slug="big")
    assert (plan.memory_bytes, plan.disk_bytes, plan.storage_bytes) == (int(1.5 * GIB), 200 * 1024**2, 0)
    assert (plan.sleep_seconds, plan.longest_sleep_seconds, plan.processes) == (0, None, None)
    page = admin.get("/admin/spaces/plan/big/change/").content.decode()
    assert 'value="1.5 GiB"' in page and 'value="never"' in page
    assert "1.5 GiB memory" in admin.get("/admin/spaces/plan/").content.decode()


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("memory_bytes", "a lot", "Write a size as 512 MiB or 2 GiB."),
        ("memory_bytes", "1 KiB", "The least is 32 MiB."),
        ("storage_bytes", "1 MiB", "The least is 16 MiB."), ("memory_bytes", "9" * 15 + "T", "Write a size"),
        ("cpus", "0", "cores from 0.01"), ("cpus", "nan", "Enter a number"), ("processes", "1", "at least 8"),
        ("sleep_seconds", "soon", "Write a time as"), ("sleep_seconds", "5s", "The least is 1 minute."),
        ("replicas", "0", "at least one worker"), ("replicas", "33", "at most 32"), ("slug", "a b", "valid"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused_in_plain_words(admin: Client, field: str, value: str, told: str) -> None:
    answer = admin.post("/admin/spaces/plan/add/", {**PLAN, field: value})
    assert answer.status_code == 200 and told in answer.content.decode()
    assert not Plan.objects.filter(name="Big").exists()


def test_the_default_is_moved_and_neither_it_nor_one_in_use_is_deleted(
    admin: Client, space: Space, small: Plan
) -> None:
    admin.post("/admin/spaces/plan/", {"action": "make_default", "_selected_action": ["small"]})
    assert plans.default_plan() == small
    admin.post("/admin/spaces/plan/", {"action": "make_default", "_selected_action": ["small", "cpu-basic"]})
    assert plans.default_plan() == small
    assert admin.post("/admin/spaces/plan/small/delete/", {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": ["small"], "post": "yes"}
    admin.post("/admin/spaces/plan/", chosen)
    assert Plan.objects.filter(pk="small").exists()
    plans.choose_plan(space, "cpu-basic")
    admin.post("/admin/spaces/plan/cpu-basic/delete/", {"post": "yes"})
    assert Plan.objects.filter(pk="cpu-basic").exists(), "a Space has it"


def test_staff_assign_any_plan_and_nothing_else(admin: Client, space: Space) -> None:
    Plan.objects.create(slug="large", name="Large", for_everyone=False, storage_bytes=GIB)
    page = f"/admin/spaces/space/{space.pk}/change/"
    assert admin.post(page, {"plan": "large", "name": "other", "stage": "RUNNING"}).status_code == 302
    space.refresh_from_db()
    assert (space.plan_id, space.name, space.stage) == ("large", "demo", "NO_APP_FILE")
    Storage.objects.create(name=space.repository, space=space, node="local", used_bytes=GIB, measured_at=timezone.now())
    Plan.objects.create(slug="little", name="Little", storage_bytes=GIB // 4)
    assert "Delete files there first" in admin.post(page, {"plan": "little"}).content.decode()
    assert admin.post(page, {"plan": ""}).status_code == 302
    space.refresh_from_db()
    assert space.plan is None


@pytest.mark.parametrize(
    ("text", "count"), [("512 MiB", 512 * 1024**2), ("1.5g", 1.5 * GIB), ("2 GB", 2 * GIB), ("17", 17), ("0", 0)]
)
def test_sizes_are_read_as_they_are_shown(text: str, count: float) -> None:
    assert units.parse_size(text) == count
    assert units.parse_size(units.size(int(count)).replace("bytes", "")) == count


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15 minutes", 900), ("2h", 7200), ("1 day", 86400), ("90 seconds", 90), ("never", 0), ("5 min", 300), ("45", 45)],
)
def test_times_are_read_as_they_are_shown(text: str, seconds: int) -> None:
    assert units.parse_time(text) == seconds
    assert units.parse_time(units.time(seconds)) == seconds
