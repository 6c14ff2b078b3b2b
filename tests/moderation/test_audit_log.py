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


FIELDS = "id, at, actor, verb, target"
ROW = f"INTO {TABLE} ({FIELDS}, reason, data) SELECT {FIELDS}, 'x', data FROM {TABLE}"
WAYS = {
    "sqlite": {"replace": f"INSERT OR REPLACE {ROW}"},
    "postgresql": {
        "replace": f"INSERT {ROW} ON CONFLICT (id) DO UPDATE SET reason = 'x'",
        "truncate": f"TRUNCATE {TABLE}",
        "truncate with what depends on it": f"TRUNCATE {TABLE} RESTART IDENTITY CASCADE",
    },
}


def test_so_does_the_database(entry: AuditEntry) -> None:
    ways = {
        "update": f"UPDATE {TABLE} SET reason = 'Nothing.'",
        "delete": f"DELETE FROM {TABLE}",
        **WAYS[connection.vendor],
    }
    for statement in ways.values():
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
        assert AuditEntry.objects.get().reason == "Spam."
