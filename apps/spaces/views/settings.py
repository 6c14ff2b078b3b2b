"""What an owner decides about a Space."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from apps.spaces import services
from apps.spaces.forms import VISIBILITY_WORDS, SleepForm, VariableForm, choices, messages_of
from apps.spaces.models import Space, Stage
from apps.spaces.variables import delete_variable, set_variable
from apps.spaces.views.access import context, owner_only


@require_http_methods(["GET", "HEAD", "POST"])
@owner_only
def settings(request: HttpRequest, space: Space) -> HttpResponse:
    """The page, and each of its sections as a POST with `do` naming what to do."""
    if request.method == "POST":
        act = ACTS.get(request.POST.get("do", ""))
        if act is None:
            raise Http404
        try:
            done = act(request, space)
        except ValidationError as error:
            messages.error(request, messages_of(error))
        else:
            if space.pk is None:
                messages.success(request, done)
                return redirect(f"/{space.owner.name}")
            messages.success(request, done)
        return redirect(f"/spaces/{_slug(space)}/settings")
    more = {
        "variables": space.variables.all(),
        "visibilities": choices(VISIBILITY_WORDS),
        "sleep_choices": SleepForm.base_fields["sleep_seconds"].choices,  # type: ignore[attr-defined]
        "is_paused": space.stage == Stage.PAUSED,
    }
    return render(request, "spaces/settings.html", context(request, space, "settings", **more))


def _slug(space: Space) -> str:
    return Space.objects.select_related("owner").get(pk=space.pk).slug


def _rename(request: HttpRequest, space: Space) -> str:
    services.rename_space(space, request.POST.get("name", "").strip()[:200])
    return f"It is called {space.slug} now, and lives at {space.url}."


def _visibility(request: HttpRequest, space: Space) -> str:
    wanted = request.POST.get("visibility", "")
    if wanted not in Space.Visibility.values:
        raise ValidationError("Choose public or private.")
    services.set_visibility(space, wanted)
    return f"The Space is {wanted} now."


def _set_variable(request: HttpRequest, space: Space) -> str:
    form = VariableForm(request.POST)
    if not form.is_valid():
        raise ValidationError("Give a name of at most 256 characters and a value of at most 64 KiB.")
    key, secret = form.cleaned_data["key"].strip(), form.cleaned_data["secret"]
    set_variable(space, key, form.cleaned_data["value"], secret=secret)
    return f"{'Secret' if secret else 'Variable'} {key} is set. Restart the Space to put it into effect."


def _delete_variable(request: HttpRequest, space: Space) -> str:
    delete_variable(space, request.POST.get("key", ""))
    return "Removed. Restart the Space to put it into effect."


def _sleep(request: HttpRequest, space: Space) -> str:
    form = SleepForm(request.POST)
    if not form.is_valid():
        raise ValidationError("Choose one of the times.")
    services.set_sleep(space, form.cleaned_data["sleep_seconds"])
    return "Saved."


def _embedding(request: HttpRequest, space: Space) -> str:
    services.set_embedding(space, disabled=request.POST.get("disable_embedding") == "on")
    return "Saved."


def _pause(request: HttpRequest, space: Space) -> str:
    services.pause_space(space)
    return "Paused. Nobody can use it until you restart it."


def _restart(request: HttpRequest, space: Space) -> str:
    services.restart_space(space)
    return "Restarting."


def _rebuild(request: HttpRequest, space: Space) -> str:
    services.restart_space(space, factory=True)
    return "Building again from scratch."


def _delete(request: HttpRequest, space: Space) -> str:
    slug = space.slug
    if request.POST.get("confirm", "").strip() != slug:
        raise ValidationError(f"Type {slug} to delete it.")
    services.delete_space(space)
    return f"{slug} is deleted."


ACTS: dict[str, Callable[[HttpRequest, Space], str]] = {
    "rename": _rename,
    "visibility": _visibility,
    "set-variable": _set_variable,
    "delete-variable": _delete_variable,
    "sleep": _sleep,
    "embedding": _embedding,
    "pause": _pause,
    "restart": _restart,
    "rebuild": _rebuild,
    "delete": _delete,
}
