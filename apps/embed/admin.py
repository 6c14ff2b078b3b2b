"""The element's versions in the admin, to look at: the portal alone writes them."""

from __future__ import annotations

from django.contrib import admin

from apps.accounts.readonly_admin import ReadOnlyAdmin
from apps.embed.models import ScriptVersion


@admin.register(ScriptVersion)
class ScriptVersionAdmin(ReadOnlyAdmin):
    list_display = ("digest", "created_at")
    search_fields = ("digest",)
    date_hierarchy = "created_at"
