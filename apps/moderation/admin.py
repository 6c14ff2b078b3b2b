"""Reports and the audit log in the admin, to look at: acting on them is what /moderation/ is for."""

from __future__ import annotations

from django.contrib import admin

from apps.accounts.readonly_admin import ReadOnlyAdmin
from apps.moderation.models import AuditEntry, Report


@admin.register(Report)
class ReportAdmin(ReadOnlyAdmin):
    list_display = ("space_slug", "category", "state", "reporter", "handled_by", "created_at")
    list_filter = ("state", "category")
    list_select_related = ("reporter", "handled_by")
    search_fields = ("space_slug", "text")


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "actor", "verb", "target", "reason")
    list_filter = ("verb",)
    search_fields = ("actor", "target", "reason")
