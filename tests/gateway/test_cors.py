from __future__ import annotations

import pytest
from asgiref.sync import sync_to_async

from apps.accounts.models import User
from apps.spaces.models import Space
from tests.gateway.asgi_client import ask, get, without_id
from tests.gateway.conftest import MakeSpace, StandInAgent
from tests.gateway.test_access import make_token, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
BLOG = "https://blog.example"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type, x-gradio-user",
}


async def test_any_web_page_may_call_a_public_space(space: Space) -> None:
    for origin in (BLOG, "http://localhost:9000"):
        answer = await get(space.host, "/headers", headers={"Origin": origin})
        assert answer.all("access-control-allow-origin") == [origin]
        assert answer.all("access-control-allow-credentials") == ["true"]
        assert "Origin" in (answer.get("vary") or "")


@pytest.mark.parametrize("origin", ["null", "file://", "", "chrome-extension://x", "https://a/b", "https://"])
async def test_other_origins_may_not(space: Space, origin: str) -> None:
    for method, headers in (("GET", {}), ("OPTIONS", PREFLIGHT)):
        answer = await ask(method, space.host, "/headers", headers={"Origin": origin, **headers})
        assert answer.get("access-control-allow-origin") is None


async def test_preflights_are_answered_without_the_app(space: Space, agent: StandInAgent) -> None:
    answer = await ask("OPTIONS", space.host, "/gradio_api/queue/join", headers={"Origin": BLOG, **PREFLIGHT})
    assert answer.status == 204 and agent.ensured == []
    assert answer.get("access-control-allow-origin") == BLOG
    assert answer.get("access-control-allow-credentials") == "true"
    assert "POST" in (answer.get("access-control-allow-methods") or "")
    assert answer.get("access-control-allow-headers") == "content-type, x-gradio-user"


async def test_errors_can_be_read_by_the_page_that_called(space: Space) -> None:
    answer = await get(space.host, "/vanish?times=9", headers={"Origin": BLOG})
    assert answer.status == 502 and answer.get("access-control-allow-origin") == BLOG


async def test_a_private_space_is_called_by_its_own_pages_and_by_tokens(private_space: Space, owner: User) -> None:
    own = f"http://{private_space.host}"
    cookie = await sign_in(private_space, owner)
    answer = await get(private_space.host, "/x", headers={**cookie, "Origin": own})
    assert answer.get("access-control-allow-origin") == own
    answer = await get(private_space.host, "/x", headers={**cookie, "Origin": BLOG})
    assert answer.get("access-control-allow-origin") is None
    token = await make_token(owner)
    answer = await get(private_space.host, "/x", headers={"Authorization": f"Bearer {token}", "Origin": BLOG})
    assert answer.status == 200 and answer.get("access-control-allow-origin") == BLOG


async def test_preflights_say_nothing_about_private_spaces(private_space: Space) -> None:
    unknown = private_space.host.replace(private_space.subdomain, "nobody-nothing")
    for asked in ("content-type", "authorization, content-type"):
        headers = {"Origin": BLOG, **PREFLIGHT, "Access-Control-Request-Headers": asked}
        real = await ask("OPTIONS", private_space.host, "/x", headers=headers)
        none = await ask("OPTIONS", unknown, "/x", headers=headers)
        assert (real.status, without_id(real)) == (none.status, without_id(none))
        assert real.status == (204 if "authorization" in asked else 404)


async def test_who_may_frame_a_space(space: Space, private_space: Space, owner: User, make_space: MakeSpace) -> None:
    portal = "frame-ancestors 'self' http://localhost:8000"
    assert "frame-ancestors *" in (await get(space.host, "/x")).all("content-security-policy")
    cookie = await sign_in(private_space, owner)
    assert (await get(private_space.host, "/x", headers=cookie)).all("content-security-policy") == [portal]
    closed = await sync_to_async(make_space)(disable_embedding=True, sdk="static")
    assert portal in (await get(closed.host, "/x")).all("content-security-policy")


async def test_the_cards_isolation_headers_are_sent_and_no_others(make_space: MakeSpace) -> None:
    custom = {
        "Cross-Origin-Embedder-Policy": "require-corp",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "everybody",
        "set-cookie": "a=1",
    }
    made = await sync_to_async(make_space)(sdk="static", deployment_custom_headers=custom)
    answer = await get(made.host, "/")
    assert answer.get("cross-origin-embedder-policy") == "require-corp"
    assert answer.get("cross-origin-opener-policy") == "same-origin"
    assert answer.get("cross-origin-resource-policy") is None and answer.get("set-cookie") is None
