"""What a page says that it is going to ask for."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from hashlib import sha256

import brotli
import pytest
from asgiref.sync import sync_to_async

from apps.gateway import preloads
from apps.gateway.asgi import current
from apps.gateway.models import Snapshot
from apps.gateway.preloads import Preloads, link
from apps.gateway.snapshots import Snapshots
from apps.spaces.models import Space
from tests.gateway.asgi_client import Exchange, ask, get
from tests.gateway.conftest import StandInAgent
from tests.gateway.gradio_like import FONT, SCRIPT, STYLE, Site

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html"}
THEME = f"theme.css?v={sha256(b':root { --x: 1 }').hexdigest()}"
OTHER = "assets/svelte/svelte.js"
SAID = (
    f"</{STYLE}>;rel=preload;as=style;crossorigin,</{SCRIPT}>;rel=modulepreload,</{THEME}>;rel=preload;as=style,"
    f"</{FONT}>;rel=preload;as=font;crossorigin"
)


@pytest.fixture
async def site(gradio_site: Site) -> AsyncIterator[Site]:
    """It was taken, and is awake."""
    await gradio_site.take()
    await get(gradio_site.space.host, "/who")
    yield gradio_site


async def visit(site: Site, *files: str, by: str = "1", path: str = "/") -> Exchange:
    """Somebody's page, and what they ask for after it."""
    browser = {"User-Agent": f"Browser {by}"}
    answer = await get(site.space.host, path, headers={**PAGE, **browser})
    for name in files:
        assert (await get(site.space.host, f"/{name}", headers=browser)).status == 200
    return answer


async def said(site: Site, path: str = "/") -> str | None:
    return (await visit(site, by="who looks", path=path)).get("link")


async def settle(site: Site) -> None:
    """As many visits as a page's list is learned from, and some time after them."""
    for number in range(preloads.VISITS):
        await visit(site, STYLE, SCRIPT, FONT, by=str(number))
    with pytest.MonkeyPatch.context() as later:
        later.setattr(preloads, "VISIT_SECONDS", 0.0)
        await said(site)
    await current().preloads.close()


async def test_what_two_first_visits_asked_for_is_said_in_the_order_of_need(site: Site, agent: StandInAgent) -> None:
    assert (await visit(site, STYLE, SCRIPT, FONT, OTHER)).get("link") is None
    assert await said(site) is None, "one visit is nobody's habit"
    await visit(site, SCRIPT, STYLE, FONT, "static/js/plain.js", by="2")
    assert await said(site) == SAID
    assert await said(site, "/about") is None, "another page asks for other files"
    agent.end(site.space.pk)
    agent.held[site.space.pk] = asyncio.Event()
    await current().watch.changed(site.space.pk)
    asleep = await visit(site, by="3")
    assert (asleep.get("link"), asleep.get("age") is None) == (SAID, False)
    agent.held[site.space.pk].set()


async def test_what_comes_later_or_by_something_done_is_not_learned(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for by in "12":
        await visit(site, SCRIPT, by=by)
        await ask("POST", site.space.host, "/who", headers={"User-Agent": f"Browser {by}"})
        await get(site.space.host, f"/{STYLE}", headers={"User-Agent": f"Browser {by}"})
    monkeypatch.setattr(preloads, "VISIT_SECONDS", -1.0)
    for by in "34":
        await visit(site, FONT, STYLE, by=by)
    assert STYLE not in (await said(site) or "") and FONT not in (await said(site) or "")
    assert SCRIPT in (await said(site) or "")


async def test_who_was_here_before_says_nothing_of_what_others_need(site: Site) -> None:
    for number in range(10):
        await visit(site, FONT, by=f"again {number}")
    for by in "12":
        await visit(site, SCRIPT, STYLE, by=by)
    assert SCRIPT in (await said(site) or "") and FONT not in (await said(site) or "")


async def test_it_is_kept_for_every_process_until_the_page_is_made_of_other_parts(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settle(site)
    found = await site.snapshot()
    assert found is not None and found.preloads == {"/": [f"/{STYLE}", f"/{SCRIPT}", f"/{FONT}"]}
    for by in ("late", "later"):
        await visit(site, OTHER, SCRIPT, by=by)
    assert await said(site) == SAID, "what few ask for later makes it no longer"

    for name, nothing in (("preloads", Preloads()), ("snapshots", Snapshots())):
        monkeypatch.setattr(current(), name, nothing)  # as another process
    assert await said(site) == SAID
    again = await site.take()
    assert again is not None and again.preloads == found.preloads, "the next start changes nothing"
    await sync_to_async(Snapshot.objects.update)(inputs="")  # as after a secret was changed
    other = await site.take()
    assert other is not None and other.preloads == {}


async def test_only_a_page_that_is_anybodys_says_it(site: Site) -> None:
    for by in "12":
        await visit(site, SCRIPT, STYLE, by=by)
    host = site.space.host
    assert (await get(host, "/", headers=PAGE)).get("link")
    for headers in ({"Cookie": "session=theirs"}, {"Authorization": "Basic YTpi"}):
        assert (await get(host, "/", headers={**PAGE, **headers})).get("link") is None
    for path in ("/config", "/who", f"/{SCRIPT}"):
        assert (await get(host, path, headers=PAGE)).get("link") is None
    site.app.status["/"] = 500
    assert (await get(host, "/", headers=PAGE)).get("link") is None
    assert (await get("localhost:8000", f"/run/{site.space.slug}/", headers=PAGE)).get("link") is None
    await sync_to_async(Space.objects.filter(pk=site.space.pk).update)(visibility="private")
    await current().watch.changed(site.space.pk)
    hidden, none = await get(host, "/", headers=PAGE), await get("no-such.spaces.localhost:8000", "/", headers=PAGE)
    assert (hidden.status, hidden.get("link")) == (none.status, none.get("link")) == (404, None)


async def test_a_visit_counts_once_however_much_it_asks_for_in_vain(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preloads, "MAX_FILE_BYTES", 3_000)  # the script has more
    for _ in range(2):
        for by in "12":
            await visit(site, *[SCRIPT] * 10, STYLE, by=by)
    assert STYLE in (await said(site) or "") and SCRIPT not in (await said(site) or SCRIPT)


async def test_an_apps_own_link_stays(site: Site) -> None:
    site.app.headers["/"] = {"Link": "</own.css>;rel=preload;as=style"}
    for by in "12":
        await visit(site, SCRIPT, STYLE, by=by)
    answer = await visit(site, by="3")
    assert answer.all("link")[0] == "</own.css>;rel=preload;as=style" and SCRIPT in answer.all("link")[1]


async def test_what_is_learned_is_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preloads, "MAX_FILES", 2)
    for by in "12":
        await visit(site, STYLE, SCRIPT, FONT, by=by)
    assert (await said(site) or "").count("<") == 3  # with the theme's
    monkeypatch.setattr(preloads, "MAX_FILES", 9)
    monkeypatch.setattr(preloads, "MAX_FILE_BYTES", 3_000)
    for by in "12":
        await visit(site, STYLE, SCRIPT, FONT, by=by, path="/about")
    assert SCRIPT not in (await said(site, "/about") or SCRIPT)
    many = link((f"/assets/index-{n:08}.js" for n in range(1_000)), b"")
    assert len(many) <= preloads.MAX_HEADER_BYTES and many.endswith(b">;rel=modulepreload")


async def test_a_page_without_anything_learned_has_no_link() -> None:
    assert link([], b"/theme.css?v=1") == b""


async def test_an_awake_page_that_is_anybodys_is_compressed(site: Site) -> None:
    site.app.page += "<p>much</p>" * 100
    host = site.space.host
    plain = await get(host, "/", headers=PAGE)
    assert plain.get("content-encoding") is None and plain.get("age") is None
    for accepted, undo in (("br", brotli.decompress), ("gzip", gzip.decompress)):
        answer = await get(host, "/", headers={**PAGE, "Accept-Encoding": accepted})
        assert (answer.get("content-encoding"), undo(answer.body)) == (accepted, plain.body)
        assert answer.all("content-length") == [str(len(answer.body))] and len(answer.body) < len(plain.body) / 3
        assert "Accept-Encoding" in (answer.get("vary") or "") and answer.get("age") is None
    coded = {**PAGE, "Accept-Encoding": "br"}
    framed = {**coded, "Sec-Fetch-Dest": "iframe", "Sec-Fetch-Storage-Access": "none"}
    for headers in ({**coded, "Cookie": "session=theirs"}, {**coded, "Authorization": "Basic YTpi"}, framed):
        assert (await get(host, "/", headers=headers)).get("content-encoding") is None
    assert (await ask("HEAD", host, "/", headers=coded)).get("content-encoding") is None
    for habit in ({"ETag": '"1"'}, {"Cache-Control": "no-transform"}, {"Set-Cookie": "a=1"}, {"Content-Type": "x/y"}):
        site.app.headers["/"] = habit
        assert (await get(host, "/", headers=coded)).get("content-encoding") is None, habit


async def test_a_stream_is_never_waited_for(site: Site) -> None:
    site.app.streams.add("/")
    answer = await get(site.space.host, "/", headers={**PAGE, "Accept-Encoding": "br"})
    assert answer.get("content-encoding") is None and len(answer.chunks) > 1


async def test_a_style_sheet_that_is_named_by_its_content_needs_no_worker(site: Site) -> None:
    site.app.asked.clear()
    answer = await get(site.space.host, f"/{THEME}")
    assert (answer.status, answer.text, site.app.asked) == (200, ":root { --x: 1 }", [])
    assert answer.get("cache-control") == "public, max-age=31536000, immutable"
    for query in ("", "?v=0a1b", f"?v={'0' * 64}"):
        answer = await get(site.space.host, f"/theme.css{query}")
        assert answer.get("age") is None and "immutable" not in (answer.get("cache-control") or "")
    assert site.app.asked == ["/theme.css"] * 3
