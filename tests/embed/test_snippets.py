""" "Embed this Space": what is offered to paste, and what the dropdown says where nothing can be."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from django.conf import settings
from django.template.loader import render_to_string

from apps.embed.selectors import snippets
from apps.spaces.models import SDK, Space


class Tags(HTMLParser):
    """The tags of a snippet with their attributes, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_frame_is_lazy_borderless_and_named(space: Space) -> None:
    [(tag, attributes)] = Tags(snippets(space).iframe).found
    assert tag == "iframe"
    assert attributes == {
        "src": space.url,
        "title": "Hello & <friends>",
        "width": "100%",
        "height": "600",
        "style": "border:0",
        "loading": "lazy",
        "allow": "camera; microphone; clipboard-write; fullscreen; autoplay",
    }


def test_the_element_brings_its_script_and_a_link_for_readers_without_scripts(space: Space) -> None:
    tags = Tags(snippets(space).element)
    assert tags.found == [
        ("script", {"type": "module", "src": f"{settings.PORTICO_URL}/embed/gradio.js"}),
        (
            "gradio-app",
            {"space": "ada/hello", "allow": "camera; microphone", "style": "display:block;min-height:334px"},
        ),
        ("a", {"href": space.url}),
    ]
    assert tags.text.strip() == "Hello & <friends>"


@pytest.mark.parametrize("sdk", [SDK.STATIC, SDK.PYTHON])
def test_demos_that_do_not_tell_their_height_are_given_one(space: Space, sdk: str) -> None:
    space.sdk = sdk
    attributes = Tags(snippets(space).element).found[1][1]
    assert (attributes["height"], attributes["style"]) == ("600px", "display:block;min-height:634px")


def test_a_title_cannot_break_out_of_the_snippet(space: Space) -> None:
    space.title = '"><script>alert(1)</script>'
    assert [tag for tag, _ in Tags(snippets(space).iframe).found] == ["iframe"]
    assert [tag for tag, _ in Tags(snippets(space).element).found] == ["script", "gradio-app", "a"]


def test_a_space_without_a_title_is_called_by_its_name(space: Space) -> None:
    space.title = ""
    assert 'title="hello"' in snippets(space).iframe


def dropdown(space: Space) -> str:
    return render_to_string("embed/dropdown.html", {"space": space})


def test_the_dropdown_shows_four_things_to_copy(space: Space) -> None:
    html = dropdown(space)
    assert html.count("data-copy=") == 4
    assert "&lt;gradio-app space=&quot;ada/hello&quot;" in html
    assert "&lt;iframe src=" in html


def test_a_private_spaces_dropdown_says_that_it_cannot_be_embedded(space: Space) -> None:
    space.visibility = Space.Visibility.PRIVATE
    html = dropdown(space)
    assert "This Space is private." in html
    assert html.count("data-copy=") == 1
    assert "gradio-app space" not in html


def test_where_embedding_is_off_the_dropdown_says_so(space: Space) -> None:
    space.disable_embedding = True
    html = dropdown(space)
    assert "turned embedding off" in html
    assert html.count("data-copy=") == 1


def test_the_dropdown_obeys_the_portals_content_security_policy(space: Space) -> None:
    html = dropdown(space)
    assert " onclick" not in html
    assert "<script>" not in html
