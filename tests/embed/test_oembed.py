"""What consumers of oEmbed and Open Graph are told of a Space."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from PIL import Image

from apps.accounts.models import User
from apps.embed import previews
from apps.spaces.models import Space

PORTAL = settings.PORTICO_URL


def ask(client: Client, url: str, **more: str) -> Any:
    return client.get("/oembed", {"url": url, **more})


@pytest.mark.parametrize(
    "address", ["{portal}/spaces/ada/hello", "{portal}/spaces/ADA/Hello/tree/main", "{host}", "{host}?__theme=dark"]
)
def test_its_page_and_its_own_host_are_known(client: Client, space: Space, address: str) -> None:
    answer = ask(client, address.format(portal=PORTAL, host=space.url))
    assert answer.status_code == 200
    said = answer.json()
    assert (said["version"], said["type"], said["title"]) == ("1.0", "rich", "Hello & <friends>")
    assert (said["author_name"], said["author_url"]) == ("ada", f"{PORTAL}/ada")
    assert (said["provider_name"], said["provider_url"]) == ("Portico", PORTAL)
    assert (said["width"], said["height"]) == (800, 600)
    assert f'<iframe src="{space.url}"' in said["html"] and "Hello &amp; &lt;friends&gt;" in said["html"]
    assert said["thumbnail_url"].endswith("/embed/spaces/ada/hello/preview.png")
    assert answer["Access-Control-Allow-Origin"] == "*"


def test_a_consumers_limits_hold(client: Client, space: Space) -> None:
    said = ask(client, space.url, maxwidth="400", maxheight="300").json()
    assert (said["width"], said["height"]) == (400, 300)
    assert 'width="400" height="300"' in said["html"]
    assert "thumbnail_url" not in said, "the picture is larger"
    for wrong in ("-5", "many", "1e3", "٤٠", "9" * 20):
        assert ask(client, space.url, maxwidth=wrong).json()["width"] == 800
    assert ask(client, space.url, maxwidth="0").json()["width"] == 40


def test_as_xml(client: Client, space: Space) -> None:
    Space.objects.filter(pk=space.pk).update(title="A & B <\x0b\ufffe>")
    answer = ask(client, space.url, format="xml")
    assert answer["Content-Type"] == "text/xml; charset=utf-8"
    root = ElementTree.fromstring(answer.content)
    told = {child.tag: child.text for child in root}
    assert (root.tag, told["title"], told["width"]) == ("oembed", "A & B <>", "800")
    assert "<iframe" in (told["html"] or "")


def test_another_format_is_not_implemented(client: Client, space: Space) -> None:
    assert ask(client, space.url, format="yaml").status_code == 501
    assert client.get("/oembed").status_code == 400


@pytest.mark.parametrize(
    "url",
    [
        "", "hello", "https://example.org/spaces/ada/hello", "{portal}/spaces/ada", "{portal}/spaces//hello",
        "{portal}/", "{portal}/spaces/ada/none", "javascript:alert(1)", "ftp://ada-hello.{domain}/", "http://[::1",
        "{portal}/ada", "http://.{domain}/", "http://{domain}/", "http://ada-hello.{domain}.evil.example/",
        "{portal}/spaces/ada/hello" + "x" * 3000,
    ],
)  # fmt: skip
def test_anything_else_is_unknown(client: Client, space: Space, url: str) -> None:
    answer = ask(client, url.format(portal=PORTAL, domain=settings.PORTICO_SPACES_DOMAIN))
    assert answer.status_code == 404


def test_a_private_space_is_unknown_even_to_its_owner(client: Client, space: Space, ada: User) -> None:
    Space.objects.filter(pk=space.pk).update(visibility="private")
    client.force_login(ada)
    for url in (space.url, f"{PORTAL}/spaces/ada/hello"):
        assert ask(client, url).status_code == 404
    assert client.get("/embed/spaces/ada/hello/preview.png").status_code == 404
    page = client.get("/spaces/ada/hello").content.decode()
    assert "og:title" not in page and "oembed" not in page


def test_a_withheld_space_is_gone(client: Client, space: Space) -> None:
    Space.objects.filter(pk=space.pk).update(taken_down_at=timezone.now())
    assert ask(client, space.url).status_code == 410
    assert client.get("/embed/spaces/ada/hello/preview.png").status_code == 410


def test_where_nobody_may_frame_it_a_link_is_given(client: Client, space: Space) -> None:
    Space.objects.filter(pk=space.pk).update(disable_embedding=True)
    said = ask(client, space.url).json()
    assert said["type"] == "link" and "html" not in said and "width" not in said


class Head(HTMLParser):
    """`meta` and `link` of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.meta: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {k: v or "" for k, v in attrs}
        if tag == "meta" and (name := found.get("property") or found.get("name")):
            self.meta[name] = found.get("content", "")
        elif tag == "link" and (kind := found.get("type") or found.get("rel")):
            self.links[kind] = found.get("href", "")


def test_the_page_is_found_and_unfurled(client: Client, space: Space) -> None:
    head = Head(client.get("/spaces/ada/hello").content.decode())
    assert head.meta["og:title"] == head.meta["twitter:title"] == "Hello & <friends>"
    assert head.meta["twitter:card"] == "summary_large_image"
    assert head.meta["og:url"] == head.links["canonical"] == f"{PORTAL}/spaces/ada/hello"
    assert head.meta["og:description"] == "Hello & <friends>, a Gradio demo by ada."
    for kind, name in (("application/json+oembed", "json"), ("text/xml+oembed", "xml")):
        there = urlsplit(head.links[kind])
        assert parse_qs(there.query) == {"url": [f"{PORTAL}/spaces/ada/hello"], "format": [name]}
        assert client.get(f"{there.path}?{there.query}").status_code == 200
    picture = client.get(urlsplit(head.meta["og:image"]).path)
    assert picture["Content-Type"] == "image/png"
    size = (int(head.meta["og:image:width"]), int(head.meta["og:image:height"]))
    assert Image.open(io.BytesIO(picture.content)).size == size == (previews.WIDTH, previews.HEIGHT)


@pytest.mark.parametrize("text", ["", "x" * 5000, "word " * 500, "שלום 你好 🙂", "a\nb\tc", "\x00\x1b"])
def test_any_words_make_a_picture_that_stays_within(text: str) -> None:
    picture = Image.open(io.BytesIO(previews.preview(text, f"ada/{text}", text, text, "red")))
    assert picture.size == (1200, 630)
    plain = Image.open(io.BytesIO(previews.preview("", "", "", "gray", "red")))
    margin = (0, 0, previews.MARGIN - 4, 630)
    right = (1200 - previews.MARGIN + 4, 0, 1200, 630)
    for side in (margin, right):
        assert picture.crop(side).tobytes() == plain.crop(side).tobytes()


def test_the_colours_are_those_of_the_card(space: Space, client: Client) -> None:
    Space.objects.filter(pk=space.pk).update(color_from="blue", color_to="pink")
    picture = Image.open(io.BytesIO(client.get("/embed/spaces/ada/hello/preview.png").content)).convert("RGB")
    first, last = picture.getpixel((0, 0)), picture.getpixel((1199, 629))
    assert isinstance(first, tuple) and isinstance(last, tuple)
    assert first[2] > first[0] and last[0] > last[1]


def test_the_badge_is_a_picture_behind_a_link(client: Client, space: Space) -> None:
    from apps.embed.selectors import snippets

    assert snippets(space).badge == f"[![Open in Portico]({PORTAL}/embed/badge.svg)]({PORTAL}/spaces/ada/hello)"
    answer = client.get("/embed/badge.svg")
    assert answer["Content-Type"] == "image/svg+xml"
    assert ElementTree.fromstring(answer.content).get("aria-label") == "Open in Portico"
