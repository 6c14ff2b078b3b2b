"""Counts of use in the admin, to look at: the gateways alone write them."""

from __future__ import annotations

from django.contrib import admin

from apps.accounts.readonly_admin import ReadOnlyAdmin
from apps.analytics.models import Day


@admin.register(Day)
class DayAdmin(ReadOnlyAdmin):
    list_display = ("date", "space", "visits", "calls", "wakes", "errors", "bytes_out")
    list_select_related = ("space__owner",)
    search_fields = ("space__name", "space__owner__name")
    date_hierarchy = "date"
