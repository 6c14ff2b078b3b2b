"""Spaces in the admin: to look at. What changes them are their pages, moderation and the `portico` command."""

from __future__ import annotations

from django.contrib import admin

from apps.accounts.readonly_admin import ReadOnlyAdmin
from apps.spaces.models import Notice, Space, SpaceVariable, StageChange, Upload


@admin.register(Space)
class SpaceAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "sdk", "stage", "visibility", "taken_down_at", "updated_at")
    list_filter = ("stage", "sdk", "visibility", "taken_down_at")
    list_select_related = ("owner",)
    search_fields = ("name", "owner__name", "subdomain", "title")


@admin.register(StageChange)
class StageChangeAdmin(ReadOnlyAdmin):
    list_display = ("space", "stage", "message", "at")
    list_filter = ("stage",)
    list_select_related = ("space__owner",)
    search_fields = ("space__name", "space__owner__name", "message")


@admin.register(SpaceVariable)
class SpaceVariableAdmin(ReadOnlyAdmin):
    """Names only: values are for their Space's owner, secrets for nobody."""

    list_display = ("space", "key", "is_secret", "updated_at")
    list_select_related = ("space__owner",)
    search_fields = ("key", "space__name", "space__owner__name")
    fields = ("space", "key", "is_secret", "description", "updated_at")

    @admin.display(boolean=True)
    def is_secret(self, variable: SpaceVariable) -> bool:
        return variable.is_secret


@admin.register(Upload)
class UploadAdmin(ReadOnlyAdmin):
    list_display = ("id", "user", "created_at")
    list_select_related = ("user",)
    search_fields = ("user__username",)


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin):
    list_display = ("namespace", "text", "created_at", "dismissed_at")
    list_filter = ("dismissed_at",)
    list_select_related = ("namespace",)
    search_fields = ("namespace__name", "text")
