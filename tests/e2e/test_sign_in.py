"""Signing in with an external OpenID Connect provider, in Chromium, against a provider process on loopback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import ADMIN, sign_in
from tests.e2e.readable import complaints
from tests.running_portal import RunningPortal, free_port

pytestmark = pytest.mark.e2e

PEOPLE = [
    {"sub": "1", "preferred_username": "grace", "email": "grace@example.org", "email_verified": True},
    {"sub": "2", "preferred_username": "ADA", "email": "lovelace@example.org", "email_verified": True},
    {"sub": "3", "preferred_username": "admin", "email": "Müller & Co@example.org"},
    {"sub": "4", "preferred_username": "eve", "email": "victim@example.org", "email_verified": False},
]
CREDENTIALS = {"PORTICO_OIDC_CLIENT_ID": "portico", "PORTICO_OIDC_CLIENT_SECRET": "a-secret"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    port = free_port()
    claims = [argument for person in PEOPLE for argument in ("--user-claims", json.dumps(person))]
    process = subprocess.Popen(
        [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), *claims],
        env={**os.environ, "AUTHLIB_INSECURE_TRANSPORT": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://localhost:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/.well-known/openid-configuration", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def house(issuer: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPortal]:
    """A portal of its own, told of the provider."""
    data = tmp_path_factory.mktemp("sign-in")
    settings = {**CREDENTIALS, "PORTICO_OIDC_ISSUER": issuer, "PORTICO_OIDC_NAME": "Example ID"}
    with RunningPortal(data, PORTICO_ADMIN=":".join(ADMIN), **settings) as running:
        yield running


def continue_as(page: Page, house: RunningPortal, person: str) -> None:
    """Sign in at the portal through the provider, where `person` is the subject."""
    page.goto(f"{house.url}/accounts/login/")
    page.get_by_role("button", name="Continue with Example ID").click()
    page.get_by_role("button", name=person, exact=True).first.click()
    page.wait_for_url(re.compile(re.escape(house.url)))


def name_of(page: Page, house: RunningPortal) -> str:
    page.goto(f"{house.url}/settings")
    return page.locator("main p strong").first.inner_text()


def test_a_new_person_comes_in_with_their_name_and_again_as_the_same(page: Page, house: RunningPortal) -> None:
    continue_as(page, house, "1")
    assert name_of(page, house) == "grace"
    page.locator("main").get_by_role("button", name="Sign out").click()
    page.goto(f"{house.url}/settings")
    expect(page).to_have_url(re.compile("/accounts/login/"))
    continue_as(page, house, "1")
    assert name_of(page, house) == "grace"
    page.goto(f"{house.url}/accounts/3rdparty/")
    expect(page.locator("main")).to_contain_text("Example ID")
    assert complaints(page) == []


def test_a_taken_name_becomes_a_free_one(page: Page, house: RunningPortal) -> None:
    continue_as(page, house, "2")
    assert name_of(page, house) not in {"ada", "ADA"}


def test_a_reserved_name_and_a_broken_address_do_not_lock_out(page: Page, house: RunningPortal) -> None:
    continue_as(page, house, "3")
    if "/signup" in page.url:
        assert complaints(page) == []
        assert page.input_value("input[name=username]") != "admin"
        page.fill("input[name=email]", "mueller@example.org")
        page.get_by_role("button", name=re.compile("sign up", re.I)).click()
        page.wait_for_url(lambda url: "/signup" not in url)
    assert name_of(page, house) != "admin"


def test_nobody_takes_an_account_over_through_an_e_mail_address(page: Page, house: RunningPortal) -> None:
    page.goto(f"{house.url}/accounts/signup/")
    page.fill("input[name=email]", "victim@example.org")
    page.fill("input[name=username]", "victim")
    page.fill("input[name=password1]", "a-good-long-password")
    page.press("input[name=password1]", "Enter")
    page.wait_for_url(lambda url: "/signup" not in url)
    page.context.clear_cookies()
    sent = house.log.read_text()  # e-mails go to the console
    assert "To: victim@example.org" in sent and f"{house.url}/accounts/confirm-email/" in sent

    continue_as(page, house, "4")
    page.goto(f"{house.url}/settings")
    assert "/accounts/login/" in page.url or page.locator("main p strong").first.inner_text() != "victim"
    page.context.clear_cookies()
    sign_in(page, house, "victim", "a-good-long-password")
    assert name_of(page, house) == "victim"
    page.goto(f"{house.url}/accounts/3rdparty/")
    expect(page.locator("main")).to_contain_text("no third-party accounts connected")


def test_somebody_who_changes_their_mind_is_back_without_an_error(page: Page, house: RunningPortal) -> None:
    page.goto(f"{house.url}/accounts/login/")
    page.get_by_role("button", name="Continue with Example ID").click()
    page.get_by_role("button", name="Deny").click()
    page.wait_for_url(re.compile(re.escape(house.url)))
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert "500" not in page.title()


def test_the_one_time_set_up_address_makes_the_administrator(page: Page, tmp_path: Path) -> None:
    with RunningPortal(tmp_path / "data") as fresh:
        address = re.search(rf"{re.escape(fresh.url)}/setup/\S+", fresh.log.read_text())
        assert address
        assert complaints(page, address[0]) == []
        page.fill("input[name=name]", "first")
        page.fill("input[name=email]", "first@example.org")
        page.fill("input[name=password]", "a-good-long-password")
        page.get_by_role("button", name="Create the administrator").click()
        page.wait_for_url(f"{fresh.url}/")
        page.goto(f"{fresh.url}/admin/")
        expect(page.locator("body")).to_contain_text("Portico")
        assert fresh.get(f"/setup/{address[0].rpartition('/')[2]}")[0] == 404
