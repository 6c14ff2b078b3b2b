"""Files of repositories that need not be read from git, since they also lie in a deployment's folder."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest

from apps.builds.models import Deployment
from apps.gateway import accel
from apps.gateway.static import IsFolder, open_file
from apps.repos.paths import BadPath, clean_path
from apps.spaces.models import Space


def accelerated(request: HttpRequest, space: Space, revision: str, path: str, size: int) -> str | None:
    """The `X-Accel-Redirect` of a file where an nginx in front can send it, else None. See `apps.spaces.downloads`."""
    headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in request.headers.items()]
    if not accel.is_asked_for(headers):
        return None
    deployment = Deployment.objects.filter(space=space, revision=revision).order_by("-pk").only("pk").first()
    if deployment is None:
        return None
    folder = settings.PORTICO_DATA / "deployments" / str(deployment.pk)
    try:
        with open_file(folder, clean_path(path).split("/"), "") as file:
            return accel.location(file.path) if file.size == size else None
    except (FileNotFoundError, IsFolder, BadPath):
        return None
