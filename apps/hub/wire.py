"""Portico's Spaces in the Hugging Face Hub's JSON, as huggingface_hub's `SpaceInfo` and `SpaceRuntime` read it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser

from apps.accounts.models import AccessToken, User
from apps.repos import store
from apps.spaces import plans
from apps.spaces.card import CardError, parse
from apps.spaces.models import Space
from apps.spaces.runs import run_facts
from apps.spaces.selectors import can_use, owns
from apps.spaces.units import size

NEVER = -1
CARD_BYTES = 128 * 1024


def time(moment: datetime) -> str:
    """As the Hub writes it: UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def client_host(space: Space) -> str:
    """Where a program reaches the demo: its own host, or `/run/...` where resolvers do not know that name."""
    if settings.PORTICO_SPACES_DOMAIN.endswith("localhost"):
        return f"{settings.PORTICO_URL}/run/{space.slug}/"
    return space.url.rstrip("/")


def runtime(space: Space, user: User | AnonymousUser) -> dict[str, Any]:
    """`SpaceRuntime`, as `user` may know it: a crash's message holds the log's last lines, which are not for visitors.
    What runs may still have the hardware of its start."""
    told = owns(user, space) or (user.is_authenticated and user.can_moderate)
    plan, run = plans.plan_of(space), run_facts(space)
    current = run.given.get("plan", plan.slug) if run.is_running else plan.slug
    return {
        "stage": space.stage,
        "hardware": {"current": current, "requested": plan.slug},
        "storage": size(plan.storage_bytes) if plan.storage_bytes else None,
        "gcTimeout": plans.sleep_seconds(space, plan) or NEVER,
        "errorMessage": (space.stage_message if told else "") or None,
        "replicas": {"requested": plan.replicas, "current": run.replicas},
        "devMode": False,
        "domains": [{"domain": space.host, "stage": "READY"}],
        "sha": space.head or None,
    }


def space_info(
    space: Space, revision: str | None, user: User | AnonymousUser, *, with_sizes: bool = False
) -> dict[str, Any]:
    """`SpaceInfo` at a revision, of main when None, for `user`, who is told nothing of a repository that is behind a
    password.

    Raises:
        apps.repos.store.NotFound: there is no such revision.
    """
    sha = None
    if can_use(user, space):
        sha = store.resolve(space.repository, revision) if revision else store.head(space.repository)
    card: dict[str, Any] = {}
    siblings: list[dict[str, Any]] = []
    if sha is not None:
        for entry in store.tree(space.repository, sha, recursive=True):
            if entry.kind == "file":
                sizes = {"size": entry.size, "blobId": entry.oid} if with_sizes else {}
                siblings.append({"rfilename": entry.path, **sizes})
        card = _card(space, sha)
    return {
        "_id": str(space.pk),
        "id": space.slug,
        "author": space.owner.name,
        "sha": sha,
        "createdAt": time(space.created_at),
        "lastModified": time(space.updated_at),
        "private": space.is_private,
        "gated": False,
        "disabled": space.is_withheld,
        "host": client_host(space),
        "subdomain": space.subdomain,
        "likes": 0,
        "sdk": space.sdk,
        "tags": [space.sdk, *card.get("tags", [])],
        "cardData": card,
        "siblings": siblings,
        "runtime": runtime(space, user),
        "models": [],
        "datasets": [],
    }


def _card(space: Space, sha: str) -> dict[str, Any]:
    """The front matter as JSON; empty where there is none, or none that can be read."""
    try:
        text = store.read(space.repository, sha, "README.md", limit=CARD_BYTES).decode()
        return parse(text).model_dump(mode="json", exclude_none=True)
    except (store.StoreError, UnicodeDecodeError, CardError):
        return {}


def whoami(user: User, token: AccessToken) -> dict[str, Any]:
    """The answer to `GET /api/whoami-v2`."""
    return {
        "type": "user",
        "id": str(user.pk),
        "name": user.username,
        "fullname": user.get_full_name() or user.username,
        "email": user.email or None,
        "isPro": False,
        "canPay": False,
        "orgs": [],
        "auth": {
            "type": "access_token",
            "accessToken": {
                "displayName": token.name,
                "role": token.role,
                "createdAt": time(token.created_at),
            },
        },
    }
