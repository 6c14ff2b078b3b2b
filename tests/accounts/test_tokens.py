from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts import services
from apps.accounts.models import AccessToken, User
from apps.accounts.tokens import create_token, user_for_token


def test_a_token_looks_as_the_hubs_clients_expect_and_only_its_digest_is_kept(ada: User) -> None:
    token, text = create_token(ada, "laptop", "write")
    assert re.fullmatch(r"hf_[A-Za-z0-9]{40}", text)
    assert user_for_token(text) == ada
    row = AccessToken.objects.filter(pk=token.pk).values().get()
    assert text not in str(row) and text[3:] not in str(row)


@pytest.mark.parametrize("text", ["", "hf_", "hf_" + "a" * 40, "x" * 10_000, "hf_\x00", "Bearer x"])
def test_anything_else_is_nobodys(ada: User, text: str) -> None:
    create_token(ada, "laptop")
    assert user_for_token(text) is None


def test_its_last_use_is_written_at_most_once_a_minute(ada: User) -> None:
    token, text = create_token(ada, "laptop")
    user_for_token(text)
    token.refresh_from_db()
    first = token.last_used_at
    assert first is not None
    user_for_token(text)
    token.refresh_from_db()
    assert token.last_used_at == first
    AccessToken.objects.filter(pk=token.pk).update(last_used_at=timezone.now() - timedelta(minutes=2))
    user_for_token(text)
    token.refresh_from_db()
    assert token.last_used_at is not None and token.last_used_at >= first


def test_somebody_suspended_or_inactive_has_no_token(ada: User) -> None:
    _, text = create_token(ada, "laptop")
    User.objects.filter(pk=ada.pk).update(is_active=False)
    assert user_for_token(text) is None
    User.objects.filter(pk=ada.pk).update(is_active=True)
    services.suspend(ada.namespace)
    assert user_for_token(text) is None


def test_the_page_shows_a_new_token_once(client: Client, ada: User) -> None:
    client.force_login(ada)
    answer = client.post("/settings/tokens", {"name": "laptop", "role": "read"})
    found = re.search(r"hf_[A-Za-z0-9]{40}", answer.content.decode())
    assert found and user_for_token(found[0]) == ada
    assert "no-store" in answer["Cache-Control"]
    again = client.get("/settings/tokens").content.decode()
    assert "laptop" in again and found[0] not in again


def test_revoking_asks_first_and_ends_the_token(client: Client, ada: User) -> None:
    token, text = create_token(ada, "laptop")
    client.force_login(ada)
    assert "Revoke" in client.get(f"/settings/tokens/{token.pk}/revoke").content.decode()
    assert user_for_token(text) == ada
    client.post(f"/settings/tokens/{token.pk}/revoke")
    assert user_for_token(text) is None


def test_nobody_revokes_or_sees_somebody_elses_token(client: Client, ada: User) -> None:
    token, text = create_token(ada, "adas-laptop")
    client.force_login(User.objects.create_user("bob"))
    assert client.post(f"/settings/tokens/{token.pk}/revoke").status_code == 404
    assert "adas-laptop" not in client.get("/settings/tokens").content.decode()
    assert user_for_token(text) == ada


def test_strangers_are_sent_to_sign_in(client: Client, db: None) -> None:
    for path in ("/settings", "/settings/tokens"):
        answer = client.get(path)
        assert answer.status_code == 302 and answer["Location"].startswith("/accounts/login/")
