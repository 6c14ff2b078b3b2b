"""`{% load embed %}`: for templates of the floors below, which know this app by name alone."""

from __future__ import annotations

from django import template

from apps.embed.selectors import Snippets, snippets
from apps.spaces.models import Space

register = template.Library()


@register.simple_tag
def embed_snippets(space: Space) -> Snippets:
    """The Space's snippets: `{% embed_snippets space as embed %}`."""
    return snippets(space)
