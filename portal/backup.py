"""`portico backup` and `restore`: what cannot be made again, in one archive.

The archive (tar, gzip) holds `database.json` (Django's own serialisation, so that it may be read back into
another kind of database), `repos/` and `keys/`. Environments and deployments are left out: they are built again
from the repositories. So is what Spaces keep at `/data` (`storage/` in the data folder): file systems cannot be copied
consistently while apps write to them, and may be far larger than all else; `kept_elsewhere` says so. Copied while the
portal is stopped, and put back before the restored one runs, they are found again. A backup holds the keys that decrypt
secrets: keep it as safe as them.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core import serializers
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import connection, transaction
from django.db.models import Count, Sum

from apps.accounts.models import User
from apps.runtime.models import Storage
from apps.spaces import services
from apps.spaces.models import Plan, Space
from apps.spaces.units import size

FOLDERS = ("repos", "keys")
LEFT_OUT = {"builds.build", "builds.deployment", "builds.environment", "builds.resolution", "runtime.node",
            "runtime.worker", "gateway.accesscode", "spaces.upload", "sessions.session", "contenttypes.contenttype",
            "auth.permission", "admin.logentry", "usersessions.usersession"}  # fmt: skip
FORMAT = 1


class BackupError(Exception):
    """Why an archive cannot be restored, for the operator."""


def backup(archive: Path) -> None:
    """Write the backup to `archive`, whole or not at all. The portal may go on running meanwhile: rows are read
    in one transaction, and repositories only ever grow."""
    aside = archive.with_name(archive.name + ".part")
    with transaction.atomic():
        rows = [row for model in _models() for row in model._default_manager.order_by("pk")]
        text = serializers.serialize("json", rows)
    manifest = json.dumps({"format": FORMAT, "rows": len(rows)})
    with tarfile.open(aside, "w:gz", compresslevel=3) as tar:
        for name, data in (("manifest.json", manifest.encode()), ("database.json", text.encode())):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o600
            tar.addfile(info, io.BytesIO(data))
        for folder in FOLDERS:
            if (settings.PORTICO_DATA / folder).is_dir():
                tar.add(settings.PORTICO_DATA / folder, arcname=folder)
    aside.chmod(0o600)
    aside.rename(archive)


def kept_elsewhere() -> str:
    """What the operator must know of what is not in a backup; empty when nothing is missing."""
    kept = Storage.objects.exclude(space=None).aggregate(spaces=Count("pk"), bytes=Sum("used_bytes"))
    if not kept["spaces"]:
        return ""
    folder = settings.PORTICO_DATA / "storage"
    return (
        f"Not in it: what {kept['spaces']} Spaces keep at /data, {size(kept['bytes'])}. "
        f"Copy {folder} while the portal is stopped."
    )


def restore(archive: Path) -> int:
    """Read a backup into this, empty, portal, and queue every Space's build. Returns the number of Spaces.

    Raises:
        BackupError: the portal already has people, or the archive is not one of ours.
    """
    call_command("migrate", interactive=False, verbosity=0)
    if User.objects.exists():
        raise BackupError("This portal already has people in it; restore into an empty data folder and database.")
    try:
        with tarfile.open(archive) as tar, tempfile.TemporaryDirectory(dir=settings.PORTICO_DATA) as aside:
            tar.extractall(aside, filter="data")
            return _restore_from(Path(aside))
    except (tarfile.TarError, OSError, KeyError, ValueError) as error:
        raise BackupError(f"{archive} cannot be restored: {error}") from error


def _restore_from(folder: Path) -> int:
    if json.loads((folder / "manifest.json").read_text())["format"] != FORMAT:
        raise BackupError("The backup was made by another version of Portico.")
    rows = (folder / "database.json").read_text()
    with transaction.atomic():
        if any(row["model"] == "spaces.plan" for row in json.loads(rows)):
            Plan.objects.all().delete()  # the one that every new portal has: there is one default
        for item in serializers.deserialize("json", rows):
            item.save()
        _reset_sequences()
        for name in FOLDERS:
            _move_into_place(folder / name, settings.PORTICO_DATA / name)
        spaces = list(Space.objects.select_related("owner"))
        for space in spaces:
            if space.head and space.paused_at is None and not space.is_withheld:
                services.restart_space(space, factory=True)
    return len(spaces)


def _move_into_place(source: Path, target: Path) -> None:
    if not source.exists():
        return
    for path in sorted(source.rglob("*")):
        destination = target / path.relative_to(source)
        if path.is_dir():
            destination.mkdir(parents=True, exist_ok=True, mode=0o700)
        else:
            path.replace(destination)


def _models() -> list:
    """Every table worth keeping, those others point at first."""
    ordered = serializers.sort_dependencies([(config, None) for config in apps.get_app_configs()])
    return [m for m in ordered if m._meta.label_lower not in LEFT_OUT and m._meta.managed and not m._meta.proxy]


def _reset_sequences() -> None:
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), _models()):
            cursor.execute(statement)
