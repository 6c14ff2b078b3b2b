"""Gradio's own files, served by the portal for every Space that has them."""

from __future__ import annotations

import asyncio
import gzip
import os
import time
from pathlib import Path
from uuid import uuid4

import brotli
import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from apps.builds.models import Deployment, Environment
from apps.gateway import assets
from apps.gateway.asgi import current
from apps.gateway.headers import best_coding
from apps.gateway.models import Snapshot
from apps.spaces.models import Space
from tests.gateway.asgi_client import ask, get
from tests.gateway.conftest import MakeSpace, StandInAgent
from tests.gateway.gradio_like import FILES, FONT, SCRIPT, STYLE, make_environment

pytestmark = pytest.mark.django_db(transaction=True)

BROTLI = {"Accept-Encoding": "gzip, deflate, br"}


@sync_to_async
def plain(make_space: MakeSpace, key: str, **fields: object) -> Space:
    """A Space of an Environment, whose app was found to leave Gradio's files alone."""
    environment = Environment.objects.get_or_create(key=key, defaults={"python_version": "3.13.1", "lock": "g"})[0]
    space = make_space(deployment_environment=environment, **fields)
    deployment = Deployment.objects.get(space=space)
    Snapshot.objects.create(deployment=deployment, inputs="", has_plain_assets=True, taken_at=timezone.now())
    return space


@pytest.fixture
def key() -> str:
    return uuid4().hex


@pytest.fixture
async def site(make_space: MakeSpace, agent: StandInAgent, key: str) -> Space:
    make_environment(key)
    return await plain(make_space, key)


async def compressed_well() -> None:
    queued = current().assets._queued
    async with asyncio.timeout(20):
        while queued:
            await asyncio.sleep(0.01)


async def test_a_file_comes_without_the_worker_and_wakes_none(site: Space, agent: StandInAgent) -> None:
    for name in (SCRIPT, STYLE, FONT, "static/js/plain.js"):
        answer = await get(site.host, f"/{name}")
        assert (answer.status, answer.body) == (200, FILES[name])
    assert (await get(site.host, "/svelte/svelte.js")).body == FILES["assets/svelte/svelte.js"]
    assert agent.ensured == []


async def test_types_and_how_long_to_keep(site: Space) -> None:
    script, font, odd = [await get(site.host, f"/{name}") for name in (SCRIPT, FONT, "static/js/plain.js")]
    assert script.get("content-type") == "text/javascript; charset=utf-8"
    assert script.get("cache-control") == "public, max-age=31536000, immutable"
    assert font.get("content-type") == "font/woff2"
    assert font.get("cache-control") == odd.get("cache-control") == "public, max-age=0, must-revalidate"
    assert script.get("x-content-type-options") == "nosniff"


async def test_brotli_and_gzip_are_what_they_say(site: Space) -> None:
    for accepted, undo in ((BROTLI["Accept-Encoding"], brotli.decompress), ("gzip", gzip.decompress)):
        answer = await get(site.host, f"/{SCRIPT}", headers={"Accept-Encoding": accepted})
        assert answer.get("content-encoding") in accepted
        assert undo(answer.body) == FILES[SCRIPT]
        assert len(answer.body) < len(FILES[SCRIPT]) / 10
        assert "Accept-Encoding" in (answer.get("vary") or "")
    font = await get(site.host, f"/{FONT}", headers=BROTLI)
    assert font.get("content-encoding") is None and font.body == FILES[FONT]


async def test_a_file_is_compressed_well_once_for_every_space(
    site: Space, make_space: MakeSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await get(site.host, f"/{SCRIPT}", headers=BROTLI)
    await compressed_well()
    best = brotli.compress(FILES[SCRIPT], mode=brotli.MODE_TEXT, quality=11)
    assert (await get(site.host, f"/{SCRIPT}", headers=BROTLI)).body == best
    other = uuid4().hex
    make_environment(other)
    sibling = await plain(make_space, other)

    def fail(*args: object, **kwargs: object) -> bytes:
        raise AssertionError("compressed again")

    monkeypatch.setattr(assets, "compress", fail)
    assert (await get(sibling.host, f"/{SCRIPT}", headers=BROTLI)).body == best


async def test_what_is_known_is_sent_again_for_its_tag_alone(site: Space) -> None:
    for headers in ({}, BROTLI, {"Accept-Encoding": "gzip"}):
        first = await get(site.host, f"/{SCRIPT}", headers=headers)
        etag = first.get("etag")
        again = await get(site.host, f"/{SCRIPT}", headers={**headers, "If-None-Match": f'W/"x", {etag}'})
        assert etag is not None and (again.status, again.body) == (304, b"")
        assert again.get("cache-control") == first.get("cache-control")
    assert (await get(site.host, f"/{SCRIPT}", headers={"If-None-Match": '"other"'})).status == 200


async def test_head_has_no_body_and_a_post_is_the_apps(
    site: Space, agent: StandInAgent, upstream: tuple[int, dict[str, object]]
) -> None:
    answer = await ask("HEAD", site.host, f"/{SCRIPT}")
    assert (answer.status, answer.body, answer.get("content-length")) == (200, b"", str(len(FILES[SCRIPT])))
    agent.ports[site.pk] = upstream[0]
    assert (await ask("POST", site.host, f"/{SCRIPT}")).json()["method"] == "POST"
    assert agent.ensured == [site.pk]


@pytest.mark.parametrize(
    "path",
    [
        "/assets/none.js", "/assets/", "/assets/../index.html", "/assets/%2e%2e/%2e%2e/secret.js",
        "/static/..%2fsecret.js", "/assets//etc/passwd", "/assets/.hidden.js", "/assets/link.js",
        "/static/folder/inside.js", "/assets/large.wasm", "/assets/%ff.js", "/index.html", "/config",
    ],
)  # fmt: skip
async def test_any_other_path_is_the_apps(
    site: Space, agent: StandInAgent, upstream: tuple[int, dict[str, object]], key: str, path: str
) -> None:
    frontend = assets.frontend(key)
    assert frontend is not None
    (frontend / "index.html").write_text("<h1>")
    (frontend / "assets/.hidden.js").write_text("no")
    outside = frontend.parent / "secret.js"
    outside.write_text("told")
    for name in ("assets/link.js", "static/folder"):
        if not (frontend / name).is_symlink():
            (frontend / name).symlink_to(outside if name.endswith(".js") else frontend.parent)
    with (frontend / "assets/large.wasm").open("wb") as large:
        large.truncate(assets.MAX_FILE_BYTES + 1)
    agent.ports[site.pk] = upstream[0]
    answer = await get(site.host, path)
    assert b"told" not in answer.body
    assert agent.ensured == [site.pk], "the worker was asked"


async def test_only_who_may_see_a_private_space_gets_its_files(
    make_space: MakeSpace, agent: StandInAgent, key: str
) -> None:
    make_environment(key)
    space = await plain(make_space, key, visibility="private")
    assert (await get(space.host, f"/{SCRIPT}")).status == 404


async def test_the_portals_own_host_serves_no_script(site: Space) -> None:
    answer = await get("localhost", f"/run/{site.slug}/{SCRIPT}")
    assert answer.status != 200 and b"greeting" not in answer.body


def test_what_nobody_loads_is_swept(settings: object, tmp_path: Path) -> None:
    settings.PORTICO_DATA = tmp_path  # type: ignore[attr-defined]
    store = assets.Store()
    for digest in ("aa1", "aa2"):
        store.save(digest, b"br", b"x")
    half = store.path("aa3", b"br").with_name(".aa3.br.12")
    half.write_bytes(b"")
    old = time.time() - assets.KEPT_SECONDS - 60
    for path in (store.path("aa1", b"br"), half):
        os.utime(path, (old, old))
    store.sweep()
    assert [p.name for p in store.path("aa2", b"br").parent.iterdir()] == ["aa2.br"]
    os.utime(store.path("aa2", b"br"), (old, old))
    assert store.load("aa2", b"br") == b"x"
    store.sweep()
    assert store.path("aa2", b"br").exists(), "loading it is using it"


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (b"gzip, deflate, br, zstd", b"br"), (b"GZIP;q=0.5", b"gzip"), (b"br;q=0, gzip", b"gzip"), (b"*", b"br"),
        (b"*, br;q=0.0", b"gzip"), (b"identity", b""), (b"", b""), (b"br;q=0.001", b"br"), (b"*;q=0", b""),
        (b"xbr", b""),
    ],
)  # fmt: skip
def test_the_best_coding_of_an_accept_encoding(accepted: bytes, coding: bytes) -> None:
    assert best_coding(accepted) == coding
