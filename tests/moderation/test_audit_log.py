from __future__ import annotations

import pytest
from django.db import DatabaseError, connection, transaction

from apps.moderation.models import AuditEntry

TABLE = AuditEntry._meta.db_table


@pytest.fixture
def entry(db: None) -> AuditEntry:
    return AuditEntry.objects.create(actor="mona", verb="ban", target="ada", reason="Spam.")


def test_django_refuses_to_change_or_delete_an_entry(entry: AuditEntry) -> None:
    entry.reason = "Nothing."
    for attempt in (
        entry.save,
        entry.delete,
        AuditEntry.objects.all().delete,
        lambda: AuditEntry.objects.update(reason="Nothing."),
        lambda: AuditEntry.objects.bulk_update([entry], ["reason"]),
    ):
        with pytest.raises(TypeError), transaction.atomic():
            attempt()
    assert AuditEntry.objects.get().reason == "Spam."


@pytest.mark.parametrize("statement", [f"UPDATE {TABLE} SET reason = 'Nothing.'", f"DELETE FROM {TABLE}"])
def test_so_does_the_database(entry: AuditEntry, statement: str) -> None:
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert AuditEntry.objects.get().reason == "Spam."
