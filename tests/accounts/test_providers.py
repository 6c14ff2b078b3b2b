from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.accounts.providers import form_origins, providers_from_env

NAMES = ("GITHUB", "GOOGLE", "HUGGINGFACE", "OIDC")
FULL = {f"PORTICO_{name}_{part}": "x" for name in NAMES for part in ("CLIENT_ID", "CLIENT_SECRET")} | {
    "PORTICO_OIDC_ISSUER": "https://id.example.org/",
    "PORTICO_OIDC_NAME": "Example ID",
}


def test_nothing_is_offered_unless_it_is_configured() -> None:
    assert providers_from_env({}) == {}
    assert providers_from_env({"PORTICO_GITHUB_CLIENT_ID": "x"}) == {}
    assert providers_from_env({k: v for k, v in FULL.items() if "OIDC" in k and "ISSUER" not in k}) == {}


def test_each_configured_one_has_its_button(client: Client, db: None, settings: Any) -> None:
    assert "Continue with" not in client.get("/accounts/login/").content.decode()
    settings.SOCIALACCOUNT_PROVIDERS = providers_from_env(FULL)
    page = client.get("/accounts/login/").content.decode()
    for name in ("GitHub", "Google", "Hugging Face", "Example ID"):
        assert f"Continue with {name}" in page


def test_all_use_pkce_and_hugging_face_is_the_hubs_issuer() -> None:
    providers = providers_from_env(FULL)
    assert all(provider["OAUTH_PKCE_ENABLED"] for provider in providers.values())
    assert [app["settings"]["server_url"] for app in providers["openid_connect"]["APPS"]] == [
        "https://huggingface.co",
        "https://id.example.org",
    ]


def test_an_issuer_must_be_https_or_on_loopback() -> None:
    with pytest.raises(ValueError, match="https"):
        providers_from_env(FULL | {"PORTICO_OIDC_ISSUER": "http://id.example.org"})
    assert providers_from_env(FULL | {"PORTICO_OIDC_ISSUER": "http://127.0.0.1:9400"})


def test_forms_may_lead_to_an_issuer_on_loopback() -> None:
    assert form_origins({"PORTICO_OIDC_ISSUER": "http://127.0.0.1:9400/x"}) == ["http://127.0.0.1:9400"]
    assert form_origins({"PORTICO_OIDC_ISSUER": "http://id.example.org"}) == []
    assert form_origins({}) == []
