"""PostgreSQL's TRUNCATE goes past triggers on rows; it is refused as well, unless there is nothing to lose."""

from __future__ import annotations

from typing import Any

from django.db import migrations

TABLE = "moderation_auditentry"
DO = [
    f"""CREATE FUNCTION {TABLE}_refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT 1 FROM {TABLE}) THEN
                RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NULL;
        END $$""",
    f"""CREATE TRIGGER {TABLE}_no_truncate BEFORE TRUNCATE ON {TABLE}
        FOR EACH STATEMENT EXECUTE FUNCTION {TABLE}_refuse_truncate()""",
]
UNDO = [f"DROP TRIGGER {TABLE}_no_truncate ON {TABLE}", f"DROP FUNCTION {TABLE}_refuse_truncate()"]


def _run(statements: list[str]) -> Any:
    def operation(apps: Any, editor: Any) -> None:
        if editor.connection.vendor == "postgresql":
            for statement in statements:
                editor.execute(statement)

    return operation


class Migration(migrations.Migration):
    dependencies = [("moderation", "0002_audit_log_is_append_only")]
    operations = [migrations.RunPython(_run(DO), _run(UNDO))]
