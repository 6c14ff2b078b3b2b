"""Nodes and workers in the admin, to look at: the agents alone write them."""

from __future__ import annotations

from django.contrib import admin

from apps.accounts.readonly_admin import ReadOnlyAdmin
from apps.runtime.models import Node, Storage, Worker


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin):
    list_display = ("name", "seen_at")
    search_fields = ("name",)


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ("id", "space", "node", "state", "started_at", "ended_at", "end_reason")
    list_filter = ("state", "node")
    list_select_related = ("space__owner", "node")
    search_fields = ("space__name", "space__owner__name")
    exclude = ("spawner_state",)


@admin.register(Storage)
class StorageAdmin(ReadOnlyAdmin):
    list_display = ("space", "node", "used_bytes", "measured_at", "created_at")
    list_filter = ("node",)
    list_select_related = ("space__owner",)
    search_fields = ("space__name", "space__owner__name")
