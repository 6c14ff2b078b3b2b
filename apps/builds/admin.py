"""Builds in the admin, to look at."""

from __future__ import annotations

from django.contrib import admin

from apps.accounts.readonly_admin import ReadOnlyAdmin
from apps.builds.models import Build, Deployment, Environment, Resolution


@admin.register(Environment)
class EnvironmentAdmin(ReadOnlyAdmin):
    list_display = ("key", "python_version", "size_bytes", "created_at", "used_at")
    list_filter = ("python_version",)
    search_fields = ("key", "lock")


@admin.register(Resolution)
class ResolutionAdmin(ReadOnlyAdmin):
    list_display = ("key", "created_at")
    search_fields = ("key", "lock")


@admin.register(Build)
class BuildAdmin(ReadOnlyAdmin):
    list_display = ("id", "space", "revision", "state", "message", "created_at", "ended_at")
    list_filter = ("state",)
    list_select_related = ("space__owner",)
    search_fields = ("space__name", "space__owner__name", "revision")


@admin.register(Deployment)
class DeploymentAdmin(ReadOnlyAdmin):
    list_display = ("id", "space", "revision", "sdk", "is_current", "created_at")
    list_filter = ("sdk", "is_current")
    list_select_related = ("space__owner",)
    search_fields = ("space__name", "space__owner__name", "revision")
