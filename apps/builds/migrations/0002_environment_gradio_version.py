from __future__ import annotations

import re
from typing import Any

from django.db import migrations, models

PINNED = re.compile(r"^gradio==(\d[\w.]{0,39}) \\$", re.MULTILINE)


def tell_versions(apps: Any, schema_editor: Any) -> None:
    """Of the Environments that were there before."""
    environments = apps.get_model("builds", "Environment").objects
    for environment in environments.filter(lock__contains="gradio==").only("pk", "lock").iterator():
        if found := PINNED.search(environment.lock):
            environments.filter(pk=environment.pk).update(gradio_version=found[1])


class Migration(migrations.Migration):
    dependencies = [("builds", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="environment",
            name="gradio_version",
            field=models.CharField(
                blank=True,
                db_index=True,
                default="",
                help_text="Of Gradio from the package index; empty without it.",
                max_length=40,
            ),
            preserve_default=False,
        ),
        migrations.RunPython(tell_versions, migrations.RunPython.noop, elidable=True),
    ]
