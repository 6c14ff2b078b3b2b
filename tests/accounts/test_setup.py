from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from apps.accounts import services
from apps.accounts.models import User

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def data(settings: Any, tmp_path: Path) -> Path:
    settings.PORTICO_DATA = tmp_path
    return tmp_path


FORM = {"name": "ada", "email": "ada@example.org", "password": "a-good-long-password"}


def test_the_address_stays_the_same_until_it_is_used_and_its_file_is_private(data: Path) -> None:
    token = services.setup_token()
    assert token and services.setup_token() == token
    mode = (data / "keys" / "setup_token").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_it_makes_the_administrator_once(
    client: Client, data: Path, django_capture_on_commit_callbacks: object
) -> None:
    token = services.setup_token()
    assert client.get(f"/setup/{token}").status_code == 200
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        assert client.post(f"/setup/{token}", FORM).status_code == 302
    ada = User.objects.get(username="ada")
    assert ada.is_superuser and ada.check_password(FORM["password"]) and ada.namespace.name == "ada"
    assert services.setup_token() is None
    assert not (data / "keys" / "setup_token").exists()
    assert client.get(f"/setup/{token}").status_code == 404
    assert client.post(f"/setup/{token}", FORM | {"name": "eve"}).status_code == 404


def test_a_wrong_token_finds_nothing(client: Client) -> None:
    services.setup_token()
    assert client.get("/setup/guessed").status_code == 404
    assert client.post("/setup/guessed", FORM).status_code == 404
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "admin", "reserved"),
        ("name", "a b", "letters, digits"),
        ("password", "1234", "too short"),
        ("email", "nobody", "valid email"),
    ],
)
def test_what_is_wrong_is_said_and_the_address_stays(client: Client, field: str, value: str, message: str) -> None:
    token = services.setup_token()
    answer = client.post(f"/setup/{token}", FORM | {field: value})
    assert message in answer.content.decode()
    assert services.setup_token() == token


def test_the_environments_administrator_is_created_once_and_never_overwritten() -> None:
    services.ensure_admin("ada", "a-good-long-password")
    assert services.ensure_admin("Ada", "another-password") is None
    ada = User.objects.get()
    assert ada.is_superuser and ada.check_password("a-good-long-password")
