"""External sign-in, from the environment. The settings import this, so no model may be imported here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

HUGGINGFACE_ISSUER = "https://huggingface.co"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _credentials(env: Mapping[str, str], name: str) -> dict[str, str] | None:
    client_id = env.get(f"PORTICO_{name}_CLIENT_ID", "").strip()
    secret = env.get(f"PORTICO_{name}_CLIENT_SECRET", "").strip()
    return {"client_id": client_id, "secret": secret} if client_id and secret else None


def _oidc_app(provider_id: str, name: str, issuer: str, credentials: dict[str, str]) -> dict[str, Any]:
    return {
        "provider_id": provider_id,
        "name": name,
        **credentials,
        "settings": {"server_url": issuer, "oauth_pkce_enabled": True},
    }


def providers_from_env(env: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return allauth's SOCIALACCOUNT_PROVIDERS: those whose client id and secret are both set, all with PKCE.

    Args:
        env: the environment; PORTICO_<GITHUB|GOOGLE|HUGGINGFACE|OIDC>_CLIENT_ID and _CLIENT_SECRET, for OIDC also
            _ISSUER (an address) and _NAME (what the button says).

    Raises:
        ValueError: an issuer is neither https nor on loopback.
    """
    providers: dict[str, dict[str, Any]] = {}
    if github := _credentials(env, "GITHUB"):
        providers["github"] = {"APPS": [github], "SCOPE": ["read:user", "user:email"], "OAUTH_PKCE_ENABLED": True}
    if google := _credentials(env, "GOOGLE"):
        providers["google"] = {"APPS": [google], "SCOPE": ["profile", "email"], "OAUTH_PKCE_ENABLED": True}
    oidc = []
    if huggingface := _credentials(env, "HUGGINGFACE"):
        oidc.append(_oidc_app("huggingface", "Hugging Face", HUGGINGFACE_ISSUER, huggingface))
    issuer = env.get("PORTICO_OIDC_ISSUER", "").strip().rstrip("/")
    if issuer and (credentials := _credentials(env, "OIDC")):
        parts = urlsplit(issuer)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ValueError("PORTICO_OIDC_ISSUER must be an https address (http on loopback alone).")
        name = env.get("PORTICO_OIDC_NAME", "").strip() or parts.hostname or "OpenID Connect"
        oidc.append(_oidc_app("oidc", name, issuer, credentials))
    if oidc:
        providers["openid_connect"] = {"APPS": oidc, "OAUTH_PKCE_ENABLED": True}
    return providers


def form_origins(env: Mapping[str, str]) -> list[str]:
    """Origins that a form may lead to besides ours and https ones: an issuer on loopback, over http."""
    parts = urlsplit(env.get("PORTICO_OIDC_ISSUER", "").strip())
    return [f"http://{parts.netloc}"] if parts.scheme == "http" and parts.hostname in LOOPBACK else []
