"""The Hub's answers, read by the Hub's own client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import huggingface_hub
import pytest
from django.conf import settings
from django.test import Client
from huggingface_hub import HfApi
from huggingface_hub.errors import DisabledRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from apps.accounts.models import AccessToken, User
from apps.accounts.tokens import create_token
from apps.repos import store
from apps.runtime.models import Node, Worker
from apps.spaces import plans
from apps.spaces.commits import commit_files
from apps.spaces.models import Plan, Space
from apps.spaces.services import create_space, withhold_space
from tests.running_agent import deploy

pytestmark = pytest.mark.django_db

README = "---\ntitle: Hello\nsdk: gradio\ntags: [toy]\nunknown_key: kept\n---\n# Hello\n"


class ThroughDjango(httpx.BaseTransport):
    """Hands the official client's requests to Django."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = {k: v for k, v in request.headers.items() if k not in {"host", "content-length"}}
        answer = Client().generic(
            request.method, request.url.raw_path.decode(), request.read(), headers={**headers, "host": "localhost"}
        )
        return httpx.Response(answer.status_code, headers=list(answer.items()), content=answer.content, request=request)


@pytest.fixture
def api() -> Iterator[HfApi]:
    huggingface_hub.set_client_factory(lambda: httpx.Client(transport=ThroughDjango()))
    yield HfApi(endpoint="http://localhost:8000", token=False)
    huggingface_hub.set_client_factory(httpx.Client)


@pytest.fixture
def owner() -> User:
    return User.objects.create_user("Ada", "ada@example.org", "secret")


@pytest.fixture
def space(owner: User) -> Space:
    made = create_space(owner.namespace, "Hello", user=owner)
    if not store.path(made.repository).exists():
        store.create(made.repository)
    files: list[Any] = [store.Add("README.md", README.encode()), store.Add("app.py", b"print(1)")]
    commit_files(made, files, user=owner, message="first")
    made.refresh_from_db()
    return made


def token(user: User, role: str = AccessToken.Role.READ) -> str:
    return create_token(user, "laptop", role)[1]


def test_space_info_is_what_the_client_expects(api: HfApi, space: Space) -> None:
    info = api.space_info("ada/hello")
    assert (info.id, info.author, info.sdk, info.private, info.disabled) == ("Ada/Hello", "Ada", "gradio", False, False)
    assert info.sha == space.head and len(space.head) == 40
    assert info.host == "http://localhost:8000/run/Ada/Hello/"
    assert info.subdomain == "ada-hello"
    assert [s.rfilename for s in info.siblings or []] == ["README.md", "app.py"]
    assert info.card_data is not None and info.card_data.title == "Hello"
    assert info.card_data.to_dict()["unknown_key"] == "kept"
    assert info.created_at is not None and info.last_modified is not None
    assert info.runtime is not None and info.runtime.stage == space.stage


def test_sizes_are_told_when_asked_for(api: HfApi, space: Space) -> None:
    info = api.space_info("Ada/Hello", files_metadata=True)
    assert {s.rfilename: s.size for s in info.siblings or []} == {"README.md": len(README), "app.py": 8}


def test_a_revision_is_a_branch_or_a_commit(api: HfApi, space: Space) -> None:
    assert api.space_info("Ada/Hello", revision="main").sha == space.head
    assert api.space_info("Ada/Hello", revision=space.head).sha == space.head
    with pytest.raises(RevisionNotFoundError):
        api.space_info("Ada/Hello", revision="refs/pr/1")


def test_runtime(api: HfApi, space: Space) -> None:
    runtime = api.get_space_runtime("Ada/Hello")
    assert (runtime.stage, runtime.hardware) == (space.stage, "cpu-basic")
    assert runtime.sleep_time == settings.PORTICO_SLEEP_SECONDS
    assert runtime.raw["replicas"] == {"requested": 1, "current": 0}


def test_runtime_tells_how_many_workers_answer(api: HfApi, space: Space) -> None:
    plan = Plan.objects.create(slug="wide", name="Wide", replicas=2)
    plans.choose_plan(space, "wide")
    assert api.get_space_runtime("Ada/Hello").raw["replicas"] == {"requested": 2, "current": 0}
    node, deployment = Node.objects.create(name="local"), deploy(space)

    def current_with(state: Worker.State) -> int:
        given = plans.resources(plan)
        Worker.objects.create(space=space, deployment=deployment, node=node, port=7860, state=state, given=given)
        told = api.get_space_runtime("Ada/Hello").raw["replicas"]
        assert told.keys() == {"requested", "current"} and told["requested"] == 2
        return int(told["current"])

    assert current_with(Worker.State.READY) == 1
    assert current_with(Worker.State.STARTING) == 1
    assert current_with(Worker.State.READY) == 2
    assert current_with(Worker.State.READY) == 2, "one that was just replaced answers a little longer"


def test_a_private_space_is_not_found_by_strangers(api: HfApi, space: Space, owner: User) -> None:
    Space.objects.update(visibility="private")
    eve = User.objects.create_user("eve", "eve@example.org", "secret")
    for ask in (api.space_info, api.get_space_runtime):
        for credentials in (False, token(eve)):
            with pytest.raises(RepositoryNotFoundError) as private:
                ask("Ada/Hello", token=credentials)
            with pytest.raises(RepositoryNotFoundError) as unknown:
                ask("Ada/Nothing", token=credentials)
            assert private.value.response.content == unknown.value.response.content
        assert ask("Ada/Hello", token=token(owner))
    assert api.space_info("Ada/Hello", token=token(owner)).private is True


def test_a_withheld_space_is_disabled(api: HfApi, space: Space, owner: User) -> None:
    withhold_space(space, "phishing")
    with pytest.raises(DisabledRepoError) as refused:
        api.space_info("Ada/Hello", token=token(owner))
    assert refused.value.response.status_code == 410


def test_whoami(api: HfApi, owner: User) -> None:
    me = api.whoami(token=token(owner, AccessToken.Role.WRITE))
    assert (me["name"], me["type"]) == ("Ada", "user")
    assert me["auth"]["accessToken"]["role"] == "write"
    with pytest.raises(HfHubHTTPError) as refused:
        api.whoami(token="hf_nobodys")
    assert refused.value.response.status_code == 401
