"""Every change of a Space's files is one commit, and the Space's row follows its README."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.repos import store
from apps.repos.paths import BadPath
from apps.repos.store import Add, Operation
from apps.spaces import card as cards
from apps.spaces import signals
from apps.spaces.models import SDK, Space

log = structlog.get_logger(__name__)

README = "README.md"
README_BYTES = 1024 * 1024


def commit_files(
    space: Space, operations: Sequence[Operation], *, user: User | None, message: str, parent: str | None = None
) -> str:
    """Commit `operations` to the Space's main, update what the Space shows of itself, and have it built.

    Args:
        parent: the revision the change was made on; the tip, whichever it is, when not given.

    Returns:
        The revision: the tip as it was when nothing changed, and then nothing is built.

    Raises:
        django.core.exceptions.ValidationError: the change cannot be made; the messages say why.
        apps.repos.store.Conflict: somebody else's commit came in between.
    """
    if not operations:
        raise ValidationError("There is nothing to commit.", code="empty")
    if space.is_withheld:
        raise ValidationError("This Space has been taken down; its files cannot be changed.", code="withheld")
    try:
        revision = store.commit(
            space.repository,
            operations,
            message=message.strip()[:2000] or "Update files",
            author_name=user.username if user else "Portico",
            author_email=(user.email if user else "") or f"{user.username if user else 'portico'}@localhost",
            parent=parent,
        )
    except store.Conflict:
        raise
    except (store.StoreError, BadPath) as error:
        raise ValidationError(str(error), code="refused") from error
    except OSError as error:
        raise ValidationError(f"The files could not be stored ({error.strerror}).", code="storage") from error
    follow_head(space, user=user)
    return revision


@transaction.atomic
def follow_head(space: Space, *, user: User | None) -> None:
    """Bring the Space's row up to main's tip, and have the tip built if the row had not known it."""
    locked = Space.objects.select_for_update().get(pk=space.pk)
    tip = store.head(locked.repository)
    if tip is None or tip == locked.head:
        return
    locked.head, locked.updated_at = tip, timezone.now()
    try:
        _show_card(locked, cards.parse(readme(locked)))
    except cards.CardError as error:
        log.info("front matter is wrong", space=locked.pk, error=str(error))
    fields = ["head", "updated_at", "sdk", "title", "emoji", "color_from", "color_to", "short_description"]
    fields.append("disable_embedding")
    locked.save(update_fields=fields)
    for name in fields:
        setattr(space, name, getattr(locked, name))
    signals.revision_created.send(Space, space=space, revision=tip, user=user)


def _show_card(space: Space, card: cards.Card) -> None:
    space.sdk = card.sdk or space.sdk
    space.title = card.title or ""
    space.emoji = card.emoji or ""
    space.color_from, space.color_to = card.colorFrom or "", card.colorTo or ""
    space.short_description = card.short_description or ""
    if card.disable_embedding is not None:
        space.disable_embedding = card.disable_embedding


def forbids_embedding(space: Space) -> bool:
    """Whether the card at the tip of main keeps the Space out of other sites' pages, whatever its settings say."""
    try:
        return cards.parse(readme(space)).disable_embedding is True
    except cards.CardError:
        return False


def readme(space: Space, revision: str = "main") -> str:
    """README.md's text at a revision; empty when there is none."""
    try:
        data = store.read(space.repository, revision, README, README_BYTES)
    except store.NotFound:
        return ""
    return data.decode(errors="replace")


def first_readme(space: Space, files: Mapping[str, Path]) -> list[Operation]:
    """The README.md that a Space's first commit of `files` still needs, to be committed after them.

    A README without front matter gets it in front; one that has it is kept byte for byte, as is one that is too
    large to look at, and one that another first commit has brought in the meantime.
    """
    given = _text(files.get(README))
    if given is None or cards.OPENED.match(given):
        return []
    defaults = {SDK.GRADIO: settings.PORTICO_GRADIO_VERSION, SDK.STREAMLIT: settings.PORTICO_STREAMLIT_VERSION}
    named = re.search(rf"^\s*{space.sdk}\b", _text(files.get("requirements.txt")) or "", re.MULTILINE)
    app_file = cards.find_app_file(space.sdk, files) or cards.APP_FILES[space.sdk][0]
    version = None if named else defaults.get(SDK(space.sdk))
    card = cards.starter(space.name, space.sdk, sdk_version=version, app_file=app_file)
    return [Add(README, cards.render(card, given or f"# {card.title}\n").encode(), if_absent=True)]


def _text(file: Path | None) -> str | None:
    """The file's text, empty when there is no file, None when it is too large."""
    if file is None:
        return ""
    return file.read_bytes().decode(errors="replace") if file.stat().st_size <= README_BYTES else None
