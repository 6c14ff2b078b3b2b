"""Forms about people."""

from __future__ import annotations

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from apps.accounts.models import AccessToken, Namespace, User
from apps.accounts.validators import validate_namespace_name


class SetupForm(forms.Form):
    """The first administrator."""

    name = forms.CharField(
        max_length=39, validators=[validate_namespace_name], widget=forms.TextInput({"autocomplete": "username"})
    )
    email = forms.EmailField(label="E-mail", widget=forms.EmailInput({"autocomplete": "email"}))
    password = forms.CharField(
        max_length=128, strip=False, widget=forms.PasswordInput({"autocomplete": "new-password"})
    )

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if Namespace.objects.filter(name__iexact=name).exists():
            raise ValidationError(f"The name “{name}” is taken.", code="taken")
        return name

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        validate_password(password, User(username=self.cleaned_data.get("name", "")))
        return password


class TokenForm(forms.Form):
    """A new access token."""

    name = forms.CharField(max_length=100, help_text="What it is for, so that you know it again.")
    role = forms.ChoiceField(
        choices=AccessToken.Role, help_text="Read sees what you see. Write also changes your Spaces."
    )
