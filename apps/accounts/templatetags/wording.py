"""`{% load wording %}`: allauth's headings and buttons as the portal writes its own."""

from __future__ import annotations

import re

from django import template
from django.template.defaultfilters import stringfilter

register = template.Library()

LATER_CAPITAL = re.compile(r"(?<=[\s-])[A-Z](?=[a-z]*\b)")


@register.filter(is_safe=True)
@stringfilter
def sentence_case(text: str) -> str:
    """`Sign Up` as `Sign up`. Words with further capitals (OpenID) and text with markup stay as they are."""
    text = text.strip()
    return text if "<" in text else LATER_CAPITAL.sub(lambda letter: letter[0].lower(), text)
