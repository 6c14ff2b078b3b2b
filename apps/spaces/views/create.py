"""New Space: what it is, and its first files, on one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from apps.accounts.models import User
from apps.repos import store
from apps.spaces import archives, services, uploads
from apps.spaces import card as cards
from apps.spaces.forms import SDK_WORDS, VISIBILITY_WORDS, SpaceForm, choices, messages_of
from apps.spaces.models import Space, Upload
from apps.spaces.templates_gallery import STARTERS, starter
from apps.spaces.uploads import Staged, UploadRefused
from apps.spaces.views.access import person


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def new_space(request: HttpRequest) -> HttpResponse:
    """The form, and what comes of it: a Space with its first commit, or the form again with what is wrong."""
    form = SpaceForm(request.POST, request.FILES) if request.method == "POST" else SpaceForm()
    if request.method == "POST" and form.is_valid():
        try:
            return redirect(_create(person(request), form.cleaned_data).get_absolute_url())
        except (ValidationError, UploadRefused, store.StoreError) as error:
            form.add_error("name" if "name" in getattr(error, "error_dict", {}) else None, messages_of(error))
    shown: dict[str, Any] = {
        "form": form,
        "sdks": choices(SDK_WORDS),
        "visibilities": choices(VISIBILITY_WORDS),
        "starters": STARTERS,
        "app_names": {sdk: names[0] for sdk, names in cards.APP_FILES.items()},
        "upload": form["upload"].value() or "",
        "max_bytes": settings.PORTICO_MAX_FILE_BYTES,
    }
    return render(request, "spaces/new.html", shown, status=422 if form.errors else 200)


def _create(user: User, asked: dict[str, Any]) -> Space:
    """Make the Space and its first commit, or neither. What was uploaded stays until it is committed."""
    given = Upload.objects.filter(pk=asked["upload"], user=user).first() if asked["upload"] else None
    upload = given or uploads.open_upload(user)
    added: list[Staged] = []
    space: Space | None = None
    try:
        added = _receive(upload, asked)
        space = services.create_space(
            user.namespace, asked["name"], user=user, sdk=asked["sdk"], visibility=asked["visibility"]
        )
        if uploads.staged(upload):
            uploads.commit_upload(upload, space, user=user, message="Add the first files")
        else:
            uploads.discard(upload)
    except BaseException:
        if space is not None:
            services.delete_space(space)
        if given is None:
            uploads.discard(upload)
        else:
            for file in added:
                uploads.remove(upload, file.path)
        raise
    return space


def _receive(upload: Upload, asked: dict[str, Any]) -> list[Staged]:
    """Take into the upload what the form itself brings: a template, pasted code, a file picked without scripts.

    Raises:
        UploadRefused: two of them bring the same file, or one is not taken.
    """
    brought: list[tuple[str, Iterable[bytes], bool]] = []
    if chosen := starter(asked["starter"]):
        brought += [(path, [data], False) for path, data in chosen.files.items()]
    if asked["code"].strip():
        brought.append((cards.APP_FILES[asked["sdk"]][0], [asked["code"].replace("\r\n", "\n").encode()], False))
    paths = Counter([f.path for f in uploads.staged(upload)] + [path for path, _, _ in brought])
    if twice := next((path for path, count in paths.items() if count > 1), None):
        raise UploadRefused(
            f"{twice} comes from two places: what you upload, the template and what you paste go together into one "
            "commit. Remove it from one of them."
        )
    if file := asked["file"]:
        brought.append((file.name, file.chunks(), archives.is_archive(file.name)))
    taken: list[Staged] = []
    try:
        for path, chunks, expand in brought:
            taken += uploads.receive(upload, path, chunks, expand=expand)
    except UploadRefused:
        for done in taken:
            uploads.remove(upload, done.path)
        raise
    return taken


@login_required
@require_safe
def check_name(request: HttpRequest) -> HttpResponse:
    """Whether a name is free, for the form while it is typed."""
    name = request.GET.get("name", "")[:200]
    if not name:
        return HttpResponse("")
    try:
        for validator in Space._meta.get_field("name").validators:
            validator(name)
    except ValidationError as error:
        return render(request, "spaces/_name.html", {"problem": messages_of(error)})
    namespace = person(request).namespace
    taken = namespace.spaces.filter(name__iexact=name).exists()
    problem = f"You already have a Space called {name}." if taken else ""
    return render(request, "spaces/_name.html", {"problem": problem, "name": name, "owner": namespace.name})
