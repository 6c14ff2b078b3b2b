"""Forms for reports and for what is done about them."""

from __future__ import annotations

from django import forms

from apps.moderation.models import Report


class ReportForm(forms.Form):
    category = forms.ChoiceField(label="What is wrong with it?", choices=Report.Category)
    text = forms.CharField(
        label="Tell us more",
        required=False,
        max_length=4000,
        widget=forms.Textarea({"rows": 5}),
        help_text="What you saw and where. Moderators read it; the owner does not.",
    )
    website = forms.CharField(required=False, widget=forms.HiddenInput)
    """People do not see it and leave it empty; machines that fill in every field give themselves away."""


class ReasonForm(forms.Form):
    reason = forms.CharField(max_length=2000, widget=forms.Textarea({"rows": 4}))
