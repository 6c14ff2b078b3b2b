"""One-time codes in the admin: how many wait, and for whom; never the codes."""

from __future__ import annotations

from django.contrib import admin

from apps.accounts.readonly_admin import ReadOnlyAdmin
from apps.gateway.models import AccessCode


@admin.register(AccessCode)
class AccessCodeAdmin(ReadOnlyAdmin):
    list_display = ("space", "user", "expires_at")
    list_display_links = None
    list_select_related = ("space__owner", "user")
    search_fields = ("space__name", "user__username")
    fields = ("space", "user", "expires_at")
