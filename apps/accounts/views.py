"""The set-up address, and a person's settings."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from apps.accounts import services
from apps.accounts.forms import SetupForm, TokenForm
from apps.accounts.models import User
from apps.accounts.tokens import create_token

MAX_TOKENS = 50


@never_cache
@sensitive_post_parameters("password")
def setup(request: HttpRequest, token: str) -> HttpResponse:
    if not services.is_setup_token(token):
        raise Http404
    form = SetupForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        user = services.set_up(**form.cleaned_data)
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
        messages.success(request, f"Welcome, {user.username}. You are this portal's administrator.")
        return redirect("/")
    return render(request, "accounts/setup.html", {"form": form})


@login_required
def settings(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/settings.html")


@never_cache
@login_required
def tokens(request: HttpRequest) -> HttpResponse:
    user = cast(User, request.user)
    form, text = TokenForm(request.POST or None), None
    if request.method == "POST" and form.is_valid():
        if user.access_tokens.count() >= MAX_TOKENS:
            form.add_error(None, f"You have {MAX_TOKENS} tokens, the most this portal allows. Revoke one first.")
        else:
            text = create_token(user, form.cleaned_data["name"], form.cleaned_data["role"])[1]
            form = TokenForm()
    return render(
        request, "accounts/tokens.html", {"form": form, "text": text, "tokens": user.access_tokens.all()[:MAX_TOKENS]}
    )


@login_required
def revoke_token(request: HttpRequest, pk: int) -> HttpResponse:
    token = get_object_or_404(cast(User, request.user).access_tokens, pk=pk)
    if request.method == "POST":
        token.delete()
        messages.success(request, f"“{token.name}” is revoked. Programs that use it are refused from now on.")
        return redirect("tokens")
    return render(request, "accounts/revoke_token.html", {"token": token})
