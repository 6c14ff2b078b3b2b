"""Every page, in both themes and at a phone's width: readable by everyone, nothing beside the edge, no errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import Page, Route, expect

from apps.gateway import pages
from tests.e2e.conftest import ADMIN, sign_in
from tests.e2e.readable import complaints
from tests.running_agent import HELLO
from tests.running_portal import RunningPortal

pytestmark = pytest.mark.e2e

SPACE = "/spaces/ada/page"
STAGES = ["NO_APP_FILE", "CONFIG_ERROR", "BUILDING", "BUILD_ERROR", "RUNTIME_ERROR", "PAUSED", "STOPPED"]
"""Those in which a Space's page shows something else than the demo, and that nobody puts right by themselves."""

FILL = """
import json
from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.utils import user_pk_to_url_str
from apps.accounts.models import User
from apps.accounts.tokens import create_token
from apps.moderation.services import act, report_space
from apps.spaces.logs import LogWriter
from apps.spaces.models import Stage
from apps.spaces.services import create_space
from apps.spaces.stages import set_stage

ada = User.objects.get(username="ada")
token, _ = create_token(ada, "the laptop in the kitchen", "write")
EmailAddress.objects.create(user=ada, email="ada@example.org", primary=True, verified=True)
other = EmailAddress.objects.create(user=ada, email="ada.byron.countess.of.lovelace@a-long-name.example.org")
for stage in STAGES:
    space = create_space(ada.namespace, stage.lower().replace("_", "-"), user=ada)
    for kind in ("run", "build"):
        LogWriter(space.pk, kind).write(f"the {kind} log, and a line without an end: {'=' * 300}".encode())
    set_stage(space.pk, Stage(stage), "No module named " + "a_long_name_" * 20 if "ERROR" in stage else "")
create_space(ada.namespace, "private", user=ada, sdk="static", visibility="private")

def person(name):
    return User.objects.create_user(name, f"{name}@example.org", "correct-horse-battery")

eve, mallory = person("eve"), person("mallory")
bad = create_space(eve.namespace, "a-demo-with-a-rather-long-name", user=eve, sdk="static")
gone = create_space(eve.namespace, "gone", user=eve, sdk="static")
coins = create_space(mallory.namespace, "coins", user=mallory, sdk="static")
first, again, down, banned = (
    report_space(space, reporter=who, category="malware", text="It mines coins. " * 20)
    for space, who in ((bad, None), (bad, ada), (gone, ada), (coins, ada))
)
act(down, "take_down", moderator=ada, reason="Mining is not allowed, wherever it says it is.")
act(banned, "ban", moderator=ada, reason="Mines coins.")
print(json.dumps({
    "token": token.pk, "open": first.pk, "down": down.pk, "banned": banned.pk,
    "reset": f"{user_pk_to_url_str(ada)}-{default_token_generator.make_token(ada)}",
    "confirm": EmailConfirmationHMAC(other).key,
}))
"""


@pytest.fixture(scope="module")
def filled(portal: RunningPortal, tmp_path_factory: pytest.TempPathFactory) -> RunningPortal:
    """The portal with a static Space, one that runs, and one whose front matter is wrong."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text("<!doctype html><html lang=en><title>Page</title><h1>A page</h1>" + "x" * 300)
    portal.deploy(folder, "ada/page")
    (folder / "app.py").write_text(HELLO)
    portal.deploy(folder, "ada/served", "--sdk", "python")
    (folder / "README.md").write_text("---\nsdk: [\n---\n")
    assert "CONFIG_ERROR" in portal.command("deploy", str(folder), "ada/wrong", check=False).stdout
    return portal


@pytest.fixture(scope="module")
def rows(filled: RunningPortal) -> dict[str, Any]:
    """Spaces in many a stage and reports in every state, straight into the database; what leads to their pages."""
    found: dict[str, Any] = json.loads(filled.shell(f"STAGES = {STAGES!r}\n{FILL}").splitlines()[-1])
    return found


def name_of(stage: str) -> str:
    return stage.lower().replace("_", "-")


def wrong_with(page: Page, portal: RunningPortal, *paths: str, status: int = 200) -> dict[str, list[str]]:
    """The complaints about each of these pages that has any."""
    addresses = [path if path.startswith("http") else portal.url + path for path in paths]
    return {address: found for address in addresses if (found := complaints(page, address, status=status))}


def test_no_page_for_strangers_shuts_anybody_out(page: Page, filled: RunningPortal, rows: dict[str, Any]) -> None:
    of_accounts = (
        "login", "signup", "inactive", "confirm-email", f"confirm-email/{rows['confirm']}", "password/reset",
        "password/reset/done", f"password/reset/key/{rows['reset']}", "password/reset/key/wrong-key",
        "password/reset/key/done", "3rdparty/login/cancelled",
    )  # fmt: skip
    of_stages = (f"/spaces/ada/{name_of(stage)}" for stage in ("BUILD_ERROR", "PAUSED", "STOPPED"))
    wrong = wrong_with(page, filled, "/", SPACE, *of_stages, *(f"/accounts/{name}/" for name in of_accounts))
    wrong |= wrong_with(page, filled, "/accounts/3rdparty/login/error/", status=401)
    wrong |= wrong_with(page, filled, "/spaces/eve/gone", status=410)
    page.goto(f"{filled.url}/spaces/eve/a-demo-with-a-rather-long-name/report")
    page.select_option("select[name=category]", "spam")
    page.get_by_role("button", name="Send the report").click()
    expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    assert wrong | {"thanks": complaints(page)} == {"thanks": []}


def test_no_page_of_a_space_shuts_anybody_out(page: Page, filled: RunningPortal, rows: dict[str, Any]) -> None:
    sign_in(page, filled, *ADMIN)
    parts = (
        "tree/main", "blob/main/index.html", "edit/main/index.html", "edit/main", "upload/main", "commits/main",
        "logs", "settings", "report",
    )  # fmt: skip
    wrong = wrong_with(
        page, filled, "/", "/spaces", "/spaces?q=nothing-like-it", "/ada", "/new-space",
        SPACE, *(f"{SPACE}/{part}" for part in parts), "/spaces/ada/served/settings", "/spaces/ada/served/logs",
        "/spaces/ada/wrong", "/spaces/ada/private", *(f"/spaces/ada/{name_of(stage)}" for stage in STAGES),
        "/spaces/ada/no-app-file/tree/main", "/spaces/ada/no-app-file/commits/main",
        "/spaces/eve/gone",  # as its moderators see it
    )  # fmt: skip
    page.context.clear_cookies()
    sign_in(page, filled, "eve", "correct-horse-battery")
    wrong |= wrong_with(page, filled, "/eve", "/settings/tokens", "/accounts/email/")
    assert wrong | wrong_with(page, filled, "/spaces/eve/gone", status=410) == {}


def test_no_page_of_settings_or_moderation_shuts_anybody_out(
    page: Page, filled: RunningPortal, rows: dict[str, Any]
) -> None:
    sign_in(page, filled, *ADMIN)
    of_accounts = ("email", "password/change", "3rdparty", "sessions", "reauthenticate", "logout")
    acts = {"open": ("dismiss", "pause", "take_down", "ban"), "down": ("restore",), "banned": ("unban",)}
    wrong = wrong_with(
        page, filled, "/settings", "/settings/tokens", f"/settings/tokens/{rows['token']}/revoke",
        *(f"/accounts/{name}/" for name in of_accounts), "/moderation/", "/moderation/?show=handled",
        "/moderation/log", "/moderation/log?target=nothing-like-it",
        *(f"/moderation/reports/{rows[state]}" for state in acts),
        *(f"/moderation/reports/{rows[state]}/{verb}" for state, verbs in acts.items() for verb in verbs),
    )  # fmt: skip
    page.goto(f"{filled.url}/settings/tokens")  # at a phone's width, which the tabs exceed
    expect(page.get_by_role("link", name="Access tokens")).to_be_in_viewport()
    # The frame around it is django-unfold's.
    assert wrong | {"health": complaints(page, f"{filled.url}/admin/health/", part="[data-health]")} == {"health": []}


def test_no_error_page_shuts_anybody_out(page: Page, filled: RunningPortal) -> None:
    """Accidents that a test cannot bring about: their pages are shown as the portal renders them."""
    wrong = wrong_with(page, filled, "/spaces/nobody/nothing", status=404)

    def accident(route: Route) -> None:
        status = route.request.url.rpartition("/")[2]
        route.fulfill(status=int(status), content_type="text/html", body=render_to_string(f"{status}.html"))

    page.route("**/accident/*", accident)
    for status in (400, 403, 429, 500):
        wrong |= wrong_with(page, filled, f"/accident/{status}", status=status)
    page.goto(f"{filled.url}/accounts/login/")
    page.evaluate("document.querySelector('[name=login]').value = 'x'.repeat(6 * 1024 ** 2)")
    page.evaluate("document.querySelector('[name=login]').form.submit()")
    expect(page.get_by_role("heading", name="Too large")).to_be_visible()
    assert wrong | {"413": complaints(page)} == {"413": []}


def test_no_page_of_the_gateway_shuts_anybody_out(page: Page, filled: RunningPortal, rows: dict[str, Any]) -> None:
    """Those of a Space's host: some as they come, all the others as the gateway writes them."""
    wrong = wrong_with(
        page, filled, *(f"http://{filled.host(f'ada-{name_of(stage)}')}/" for stage in STAGES), status=503
    )
    wrong |= wrong_with(page, filled, f"http://{filled.host('eve-gone')}/", status=410)
    wrong |= wrong_with(page, filled, f"http://{filled.host('nobody-nothing')}/", status=404)
    said = [
        pages.bad_request("its headers are " + "x" * 200), pages.too_large(2**30), pages.method_not_allowed("PUT"),
        pages.no_such_file(), pages.too_busy(), pages.unavailable(), pages.bad_gateway(), pages.internal_error(),
        pages.gateway_timeout(), pages.for_stage("SLEEPING", "ada/demo", "No module named " + "x" * 200),
    ]  # fmt: skip
    headers = {"content-type": "text/html", "content-security-policy": pages.POLICY.decode()}
    for shown in said:
        page.route("http://said.*/", lambda route, _, shown=shown: route.fulfill(
            status=shown.status, headers=headers, body=shown.as_html()
        ))  # fmt: skip
        wrong |= wrong_with(page, filled, f"http://{filled.host('said')}/", status=shown.status)
    assert wrong == {}


def test_the_frame_says_that_the_demo_loads_until_it_has(page: Page, filled: RunningPortal) -> None:
    said: list[str] = []
    loading = page.get_by_role("status").filter(has_text="Loading the demo")

    def look_first(route: Route) -> None:
        loading.wait_for()
        said.append(loading.inner_text())
        route.continue_()

    page.route(re.compile(r"//ada-page\.spaces\.[^/]+/$"), look_first)
    page.goto(filled.url + SPACE)
    h1 = page.frame_locator("iframe[src*='spaces.localhost']").locator("h1")
    expect(h1).to_have_text("A page", timeout=30_000)
    expect(page.locator("[data-loading]")).to_have_count(0)
    assert said


@pytest.mark.parametrize("width", [390, 700, 1280])
def test_no_choice_of_sdk_stands_alone_in_its_row(page: Page, filled: RunningPortal, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    sign_in(page, filled, *ADMIN)
    page.goto(f"{filled.url}/new-space")
    tops = page.locator(".choice:has([name=sdk])").evaluate_all(
        "cards => cards.map(c => c.getBoundingClientRect().top)"
    )
    rows = [tops.count(top) for top in sorted(set(tops))]
    assert len(tops) == 4 and len(set(rows)) == 1, rows


def test_a_space_is_made_with_the_keyboard_alone(page: Page, filled: RunningPortal, tmp_path: Path) -> None:
    sign_in(page, filled, *ADMIN)
    page.goto(f"{filled.url}/new-space")
    page.get_by_label("Name", exact=True).focus()
    page.keyboard.type("typed")
    expect(page.locator("#name-hint")).to_contain_text("Free: ada/typed")
    page.keyboard.press("Tab")
    for _ in range(2):  # Gradio, Streamlit, Static
        page.keyboard.press("ArrowDown")
    assert page.locator("input[name=sdk]:checked").get_attribute("value") == "static"
    (tmp_path / "index.html").write_text("<h1>Typed</h1>")
    page.get_by_label("Choose files").set_input_files(tmp_path / "index.html")
    expect(page.locator("[data-upload-list]")).to_contain_text("index.html")
    create = page.get_by_role("button", name="Create Space")
    expect(create).to_be_enabled()
    create.focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-stage]").first).to_have_attribute("data-stage", "RUNNING", timeout=60_000)
    expect(page.frame_locator("iframe[src*='spaces.localhost']").locator("h1")).to_have_text("Typed")
