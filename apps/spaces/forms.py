"""Forms of Spaces' pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from apps.spaces.models import SDK, Space
from apps.spaces.templates_gallery import starter

SDK_WORDS = {
    SDK.GRADIO: "app.py with an ordinary launch()",
    SDK.STREAMLIT: "a Streamlit script",
    SDK.STATIC: "index.html and its files, no server",
    SDK.PYTHON: "any program that listens on $PORT",
}
VISIBILITY_WORDS = {
    Space.Visibility.PUBLIC: "Anyone can see and use it, and embed it.",
    Space.Visibility.PRIVATE: "Only you and whom you invite; for everyone else it does not exist.",
}
EMBEDDING_WORDS = {
    "everywhere": ("Everywhere", "Any site may show it in its pages. A private Space is shown on this portal alone."),
    "sites": ("On these sites only", "On the sites below, and on this portal."),
    "nowhere": ("Nowhere", "On this portal alone."),
}


class SpaceForm(forms.Form):
    name = forms.CharField(max_length=96)
    sdk = forms.ChoiceField(choices=SDK.choices, initial=SDK.GRADIO)
    visibility = forms.ChoiceField(choices=Space.Visibility.choices, initial=Space.Visibility.PUBLIC)
    upload = forms.UUIDField(required=False)
    starter = forms.CharField(max_length=40, required=False)
    code = forms.CharField(max_length=1_000_000, required=False, strip=False)
    file = forms.FileField(required=False)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        for validator in Space._meta.get_field("name").validators:
            validator(name)
        return name

    def clean(self) -> dict[str, Any]:
        """A template brings its own SDK."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if chosen := starter(cleaned.get("starter", "")):
            cleaned["sdk"] = chosen.sdk
        return cleaned


class VariableForm(forms.Form):
    key = forms.CharField(max_length=256)
    value = forms.CharField(max_length=64 * 1024, strip=False, required=False)
    secret = forms.BooleanField(required=False)

    def clean_value(self) -> str:
        value: str = self.cleaned_data["value"]
        return value.replace("\r\n", "\n")


class EditForm(forms.Form):
    path = forms.CharField(max_length=1024)
    text = forms.CharField(max_length=2_000_000, strip=False, required=False, widget=forms.Textarea)
    message = forms.CharField(max_length=500, required=False)
    parent = forms.CharField(max_length=40, required=False)

    def clean_text(self) -> str:
        """As an editor means it: browsers send lines that end in CR LF."""
        text: str = self.cleaned_data["text"]
        return text.replace("\r\n", "\n")


def messages_of(error: ValidationError | Exception) -> str:
    """The words of an error, in one line."""
    return " ".join(error.messages) if isinstance(error, ValidationError) else str(error)


def choices(words: dict[Any, str]) -> list[dict[str, str]]:
    """Radio buttons with their explanations, for `spaces/_choices.html`."""
    return [{"value": choice.value, "label": str(choice.label), "words": text} for choice, text in words.items()]
