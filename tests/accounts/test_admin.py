from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client
from unfold.admin import ModelAdmin

from apps.accounts.models import User
from apps.accounts.tokens import create_token
from apps.moderation.models import AuditEntry
from apps.spaces.encryption import encrypt
from apps.spaces.models import SpaceVariable
from apps.spaces.services import create_space

OURS = [model for model in apps.get_models() if model.__module__.startswith("apps.")]


@pytest.fixture
def root(client: Client, db: None) -> User:
    root = User.objects.create_superuser("root-person", "", "a-good-long-password")
    client.force_login(root)
    return root


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_every_table_has_its_page_with_search(client: Client, root: User, model: type) -> None:
    registered = admin.site._registry[model]
    assert isinstance(registered, ModelAdmin)
    assert registered.search_fields
    meta = model._meta  # type: ignore[attr-defined]
    answer = client.get(f"/admin/{meta.app_label}/{meta.model_name}/?q=x")
    assert answer.status_code == 200


def test_signing_in_goes_through_the_portals_own_page(client: Client, ada: User) -> None:
    answer = client.get("/admin/", follow=True)
    assert answer.redirect_chain[-1][0].startswith("/accounts/login/")
    client.force_login(ada)
    assert client.get("/admin/", follow=True).status_code == 403


def test_the_audit_log_cannot_be_written_there(client: Client, root: User) -> None:
    entry = AuditEntry.objects.create(actor="mona", verb="ban", target="ada", reason="Spam.")
    base = "/admin/moderation/auditentry/"
    assert client.get(f"{base}{entry.pk}/change/").status_code == 200
    assert client.post(f"{base}{entry.pk}/change/", {"reason": "Nothing."}).status_code == 403
    assert client.post(f"{base}{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.get(f"{base}add/").status_code == 403
    assert AuditEntry.objects.get().reason == "Spam."


def test_secrets_values_and_tokens_are_never_shown(client: Client, root: User) -> None:
    space = create_space(root.namespace, "demo", user=root)
    secret = SpaceVariable.objects.create(space=space, key="KEY", secret=encrypt("hush-hush"))
    plain = SpaceVariable.objects.create(space=space, key="PLAIN", value="a-plain-value")
    token, _ = create_token(root, "laptop")
    for path in (
        "spaces/spacevariable/", f"spaces/spacevariable/{secret.pk}/change/",
        f"spaces/spacevariable/{plain.pk}/change/", f"accounts/accesstoken/{token.pk}/change/",
    ):  # fmt: skip
        page = client.get(f"/admin/{path}").content.decode()
        assert "hush-hush" not in page and "a-plain-value" not in page and token.digest not in page, path


def test_a_username_stays_its_namespaces_name(client: Client, root: User) -> None:
    client.post(f"/admin/accounts/user/{root.pk}/change/", {"username": "other", "email": "x@example.org"})
    root.refresh_from_db()
    assert root.username == "root-person"
