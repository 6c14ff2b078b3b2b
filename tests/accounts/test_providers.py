from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from apps.accounts.providers import form_origins, providers_from_env

NAMES = ("GITHUB", "GOOGLE", "HUGGINGFACE", "OIDC")
BUTTONS = dict(zip(NAMES, ("GitHub", "Google", "Hugging Face", "Example ID"), strict=True))
FULL = {f"PORTICO_{name}_{part}": "x" for name in NAMES for part in ("CLIENT_ID", "CLIENT_SECRET")} | {
    "PORTICO_OIDC_ISSUER": "https://id.example.org/",
    "PORTICO_OIDC_NAME": "Example ID",
}


def test_nothing_is_offered_unless_it_is_configured() -> None:
    assert providers_from_env({}) == {}
    assert providers_from_env({"PORTICO_GITHUB_CLIENT_ID": "x"}) == {}
    assert providers_from_env({k: v for k, v in FULL.items() if "OIDC" in k and "ISSUER" not in k}) == {}


@pytest.mark.parametrize("names", [(), *((name,) for name in NAMES), NAMES])
def test_each_has_its_button_once_its_own_variables_are_set(
    client: Client, db: None, settings: Any, names: tuple[str, ...]
) -> None:
    own = {key: value for key, value in FULL.items() if key.split("_")[1] in names}
    settings.SOCIALACCOUNT_PROVIDERS = providers_from_env(own)
    page = client.get("/accounts/login/").content.decode()
    assert set(re.findall(r"Continue with ([\w ]+)", page)) == {BUTTONS[name] for name in names}


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
