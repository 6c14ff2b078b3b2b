"""What an owner decides."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import User
from apps.repos.store import Add
from apps.spaces import services
from apps.spaces.commits import commit_files
from apps.spaces.encryption import decrypt
from apps.spaces.models import Space, SpaceVariable, Stage
from apps.spaces.variables import MAX_VARIABLES


@pytest.fixture
def browser(client: Client, ada: User, space: Space) -> Client:
    client.force_login(ada)
    return client


def do(browser: Client, act: str, **fields: Any) -> str:
    answer = browser.post("/spaces/ada/demo/settings", {"do": act, **fields}, follow=True)
    return answer.content.decode()


def test_a_secret_is_stored_encrypted_and_never_shown(browser: Client, space: Space) -> None:
    page = do(browser, "set-variable", key="TOKEN", value="hunter2-very-secret", secret="on")
    stored = SpaceVariable.objects.get()
    assert stored.secret is not None and b"hunter2" not in bytes(stored.secret)
    assert (stored.value, decrypt(stored.secret)) == ("", "hunter2-very-secret")
    for path in ("", "/settings", "/logs", "/tree/main"):
        assert "hunter2" not in browser.get(f"/spaces/ada/demo{path}").content.decode()
    assert "TOKEN" in page and "Restart" in page


def test_a_variable_is_shown_replaced_and_removed(browser: Client) -> None:
    do(browser, "set-variable", key="MODE", value="one")
    assert "two" in do(browser, "set-variable", key="MODE", value="two")
    assert SpaceVariable.objects.count() == 1
    do(browser, "delete-variable", key="MODE")
    assert not SpaceVariable.objects.exists()


@pytest.mark.parametrize("key", ["1A", "A-B", "A B", "", "PORT", "LD_PRELOAD", "A\0", "É"])
def test_a_name_that_cannot_be_is_told(browser: Client, key: str) -> None:
    assert "notice-error" in do(browser, "set-variable", key=key, value="x")
    assert not SpaceVariable.objects.exists()


def test_values_and_counts_are_bounded(browser: Client, space: Space) -> None:
    assert "64 KiB" in do(browser, "set-variable", key="A", value="x" * 70_000)
    SpaceVariable.objects.bulk_create(SpaceVariable(space=space, key=f"K{n}", value="") for n in range(MAX_VARIABLES))
    assert f"{MAX_VARIABLES} variables" in do(browser, "set-variable", key="ONE_MORE", value="x")


def test_a_rename_moves_the_address(browser: Client, space: Space) -> None:
    do(browser, "rename", name="Better.Name")
    space.refresh_from_db()
    assert (space.name, space.subdomain) == ("Better.Name", "ada-better-name")
    assert browser.get("/spaces/ada/better.name").status_code == 200
    assert browser.get("/spaces/ada/demo").status_code == 404


def test_a_rename_to_a_taken_or_malformed_name_changes_nothing(browser: Client, space: Space, ada: User) -> None:
    services.create_space(ada.namespace, "other", user=ada)
    for name in ("OTHER", "a/b", "", "x" * 120):
        assert "notice-error" in do(browser, "rename", name=name)
    space.refresh_from_db()
    assert (space.name, space.subdomain) == ("demo", "ada-demo")


def test_two_names_with_the_same_plain_label_get_two_subdomains(space: Space, ada: User) -> None:
    twin = services.create_space(ada.namespace, "de.mo", user=ada)
    triplet = services.create_space(ada.namespace, "de_mo", user=ada)
    assert len({space.subdomain, twin.subdomain, triplet.subdomain}) == 3
    assert twin.subdomain == "ada-de-mo" and triplet.subdomain.startswith("ada-de-mo-")


def test_visibility_embedding_and_sleep_are_kept(browser: Client, space: Space) -> None:
    do(browser, "visibility", visibility="private")
    do(browser, "embedding", embedding="nowhere")
    do(browser, "sleep", sleep_seconds="3600")
    space.refresh_from_db()
    assert (space.visibility, space.disable_embedding, space.sleep_seconds) == ("private", True, 3600)
    assert "notice-error" in do(browser, "visibility", visibility="everyone")
    assert "notice-error" in do(browser, "sleep", sleep_seconds="1")
    do(browser, "sleep", sleep_seconds="default")
    space.refresh_from_db()
    assert space.sleep_seconds is None


def test_pause_and_restart(browser: Client, space: Space, ada: User) -> None:
    commit_files(space, [Add("app.py", b"")], user=ada, message="x")
    do(browser, "pause")
    space.refresh_from_db()
    assert (space.stage, space.paused_at is not None) == (Stage.PAUSED, True)
    do(browser, "rebuild")
    space.refresh_from_db()
    assert (space.stage, space.paused_at) == (Stage.BUILDING, None)


def test_deleting_needs_the_name_typed(browser: Client, space: Space) -> None:
    assert "Type ada/demo" in do(browser, "delete", confirm="demo")
    assert Space.objects.exists()
    assert "is deleted" in do(browser, "delete", confirm="ada/demo")
    assert not Space.objects.exists()


def test_an_act_that_is_none_is_a_404(browser: Client) -> None:
    assert browser.post("/spaces/ada/demo/settings", {"do": "nonsense"}).status_code == 404
