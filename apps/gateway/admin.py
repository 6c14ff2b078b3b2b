"""The gateway's tables in the admin: one-time codes that wait, and for whom, never the codes; snapshots of pages."""

from __future__ import annotations

from django.contrib import admin

from apps.accounts.readonly_admin import ReadOnlyAdmin
from apps.gateway.models import AccessCode, Snapshot


@admin.register(AccessCode)
class AccessCodeAdmin(ReadOnlyAdmin):
    list_display = ("space", "user", "expires_at")
    list_display_links = None
    list_select_related = ("space__owner", "user")
    search_fields = ("space__name", "user__username")
    fields = ("space", "user", "expires_at")


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnlyAdmin):
    list_display = ("deployment", "space", "is_drawn", "refusal", "has_plain_assets", "taken_at")
    list_filter = ("has_plain_assets",)
    list_select_related = ("deployment__space__owner",)
    search_fields = ("deployment__space__name", "deployment__space__owner__name", "refusal")
    exclude = ("content",)

    @admin.display(description="Space")
    def space(self, snapshot: Snapshot) -> str:
        return snapshot.deployment.space.slug

    @admin.display(description="drawn", boolean=True)
    def is_drawn(self, snapshot: Snapshot) -> bool:
        return bool(snapshot.digest)
