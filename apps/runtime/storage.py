"""What the Spaces of this node keep: one image each, in use while a worker of theirs runs."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from uuid import UUID

import structlog
from django.conf import settings

from apps.runtime.cancellation import until_done
from apps.runtime.spawner import SpawnFailed
from apps.sandbox.users import user_of_space
from apps.sandbox.volumes import Volume, VolumeError

log = structlog.get_logger(__name__)


def image_of(name: UUID) -> Path:
    """The file that a `models.Storage` of this name is on its node."""
    return Path(settings.PORTICO_DATA) / "storage" / f"{name.hex}.img"


class Storages:
    """Images in use, counted: a worker and the one that takes its place see the same file system."""

    def __init__(self) -> None:
        self._volumes: dict[Path, Volume] = {}
        self._users: dict[Path, int] = {}
        self._locks: dict[Path, asyncio.Lock] = {}
        self._closed: dict[Path, int] = {}

    async def take(self, image: Path, size: int, space_id: int) -> Volume:
        """Use an image, made if there is none, for a worker of the Space; `give_back` it when that has ended.

        Args:
            size: bytes that may be kept in it. Those of a volume that is in use already stay as they are.

        Raises:
            SpawnFailed: what it keeps cannot be used; so it must not run, or what it wrote would be lost.
        """
        async with self._locks.setdefault(image, asyncio.Lock()):
            volume = self._volumes.get(image)
            if volume is None:
                volume = self._volumes[image] = await self._open(image, size, user_of_space(space_id) or 0)
            self._users[image] = self._users.get(image, 0) + 1
            return volume

    async def _open(self, image: Path, size: int, owner: int) -> Volume:
        opening = asyncio.ensure_future(asyncio.to_thread(Volume, image, size, owner))
        try:
            return await asyncio.shield(opening)
        except VolumeError as error:
            log.error("storage cannot be used", image=str(image), error=str(error), detail=error.detail)
            raise SpawnFailed(f"What it keeps at /data cannot be used: {error}.") from error
        except asyncio.CancelledError:
            with contextlib.suppress(asyncio.CancelledError):
                await until_done(opening)
            if opening.exception() is None:
                opening.result().close()
            raise

    async def give_back(self, volume: Volume) -> None:
        """One worker that used it is gone; with the last one it is unmounted."""
        image = volume.image
        async with self._locks[image]:
            self._users[image] -= 1
            if self._users[image] == 0:
                del self._users[image], self._volumes[image]
                self._closed[image] = volume.usage()[0]
                await asyncio.to_thread(volume.close)

    def measured(self) -> dict[UUID, int]:
        """Bytes kept in each that is in use, or was since this was last asked."""
        closed, self._closed = self._closed, {}
        used = closed | {image: volume.usage()[0] for image, volume in self._volumes.items()}
        return {UUID(hex=image.stem): count for image, count in used.items()}

    async def delete(self, name: UUID) -> bool:
        """Delete what a Space kept that is gone. False while a worker of it still runs."""
        image = image_of(name)
        async with self._locks.setdefault(image, asyncio.Lock()):
            if image in self._volumes:
                return False
            await asyncio.to_thread(image.unlink, missing_ok=True)
            del self._locks[image]
            return True
