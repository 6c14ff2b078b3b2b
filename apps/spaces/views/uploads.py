"""The uploader's endpoints, and the page that adds files to a Space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from apps.repos import store
from apps.spaces import archives, uploads
from apps.spaces.forms import messages_of
from apps.spaces.models import Space, Upload
from apps.spaces.uploads import Staged, UploadRefused
from apps.spaces.views.access import context, owner_only, person

CHUNK_BYTES = 256 * 1024


def _own(request: HttpRequest, pk: UUID) -> Upload:
    upload = Upload.objects.filter(pk=pk, user=person(request)).first()
    if upload is None:
        raise Http404
    return upload


def _listed(files: list[Staged]) -> list[dict[str, Any]]:
    return [{"path": f.path, "size": f.size} for f in files]


def _chunks(request: HttpRequest) -> Iterator[bytes]:
    while chunk := request.read(CHUNK_BYTES):
        yield chunk


def _refused(code: str, error: UploadRefused, status: int) -> JsonResponse:
    """As the server and the gateway refuse: a code for programs, words for people."""
    return JsonResponse({"error": code, "message": str(error)}, status=status)


@login_required
@require_POST
def open_upload(request: HttpRequest) -> HttpResponse:
    """Begin an upload: `{"id": …}`."""
    try:
        upload = uploads.open_upload(person(request))
    except UploadRefused as error:
        return _refused("too_many_uploads", error, 429)
    return JsonResponse({"id": str(upload.pk)}, status=201)


@login_required
@require_http_methods(["GET", "DELETE"])
def upload(request: HttpRequest, pk: UUID) -> HttpResponse:
    """GET lists the files, DELETE throws the upload away."""
    own = _own(request, pk)
    if request.method == "DELETE":
        uploads.discard(own)
        return HttpResponse(status=204)
    return JsonResponse({"files": _listed(uploads.staged(own))})


@login_required
@require_http_methods(["PUT", "DELETE"])
def upload_file(request: HttpRequest, pk: UUID, path: str) -> HttpResponse:
    """PUT takes the body as the file at `path`, or with `?expand=1` the files of the archive that it is; DELETE takes
    the file out. A refusal is `{"error": code, "message": words}` with status 422 and changes nothing."""
    own = _own(request, pk)
    if request.method == "DELETE":
        uploads.remove(own, path)
        return HttpResponse(status=204)
    try:
        taken = uploads.receive(own, path, _chunks(request), expand=request.GET.get("expand") == "1")
    except UploadRefused as error:
        return _refused("refused", error, 422)
    return JsonResponse({"files": _listed(taken)})


@require_http_methods(["GET", "HEAD", "POST"])
@owner_only
def add_files(request: HttpRequest, space: Space) -> HttpResponse:
    """The uploader for a Space that is there, and the commit of what was uploaded."""
    error = ""
    if request.method == "POST":
        try:
            _commit(request, space)
            return redirect(space.get_absolute_url())
        except (ValidationError, UploadRefused, store.Conflict) as refused:
            error = messages_of(refused)
    more = {
        "error": error,
        "folder": request.GET.get("folder", ""),
        "upload": request.POST.get("upload", ""),
        "max_bytes": settings.PORTICO_MAX_FILE_BYTES,
    }
    return render(request, "spaces/upload.html", context(request, space, "files", **more), status=422 if error else 200)


def _commit(request: HttpRequest, space: Space) -> None:
    user, folder = person(request), request.POST.get("folder", "").strip("/ ")
    message = request.POST.get("message", "").strip() or "Upload files"
    if file := request.FILES.get("file"):
        name = str(file.name)
        own = uploads.open_upload(user)
        uploads.receive(own, name, file.chunks(), expand=archives.is_archive(name))
    else:
        try:
            own = _own(request, UUID(request.POST.get("upload", "")))
        except (ValueError, Http404):
            raise ValidationError("Choose some files first.", code="empty") from None
    uploads.commit_upload(own, space, user=user, message=message, folder=folder)
