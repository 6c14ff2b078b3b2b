"""`{% load embed %}`: for templates of the floors below, which know this app by name alone."""

from __future__ import annotations

from django import template
from django.conf import settings

from apps.embed.oembed import discovery, preview_url
from apps.embed.selectors import Snippets, description_of, element, snippets, title_of
from apps.spaces.links import signed
from apps.spaces.models import ShareLink, Space

register = template.Library()


@register.simple_tag
def embed_snippets(space: Space) -> Snippets:
    """The Space's snippets: `{% embed_snippets space as embed %}`."""
    return snippets(space)


@register.simple_tag
def embed_element(link: ShareLink) -> str:
    """The element with a link's token: `{% embed_element link %}`. Needs its `space`, with its `owner`, loaded."""
    return element(link.space, token=signed(link))


@register.simple_tag
def embed_links(space: Space) -> dict[str, str]:
    """What other sites read of a public Space's page: `{% embed_links space as links %}`."""
    return {
        "title": title_of(space),
        "description": description_of(space),
        "page": f"{settings.PORTICO_URL}{space.get_absolute_url()}",
        "preview": preview_url(space),
        "oembed_json": discovery(space, "json"),
        "oembed_xml": discovery(space, "xml"),
    }
