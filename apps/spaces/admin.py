"""Spaces in the admin: to look at, and to assign them a plan. What else changes them are their pages, moderation and
the `portico` command. Plans are made here."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.accounts.readonly_admin import ReadOnlyAdmin
from apps.sandbox.volumes import SMALLEST_BYTES
from apps.spaces import plans, units
from apps.spaces.models import Domain, Invitation, Notice, Plan, ShareLink, Space, SpaceVariable, StageChange, Upload

SMALLEST_MEMORY_BYTES = 32 * 1024**2
SMALLEST_DISK_BYTES = 1024**2
MOST_REPLICAS = 32


class UnitField(forms.CharField):
    """A number that people write and read with its unit: a size, or a time."""

    def __init__(self, parse: Any, show: Any, least: int, **options: Any) -> None:
        super().__init__(widget=UnfoldAdminTextInputWidget(), **options)
        self.parse, self.show, self.least = parse, show, least

    def to_python(self, value: Any) -> Any:
        if not str(value or "").strip():
            return None
        try:
            found = self.parse(str(value))
        except ValueError as error:
            raise ValidationError(str(error)) from None
        if 0 < found < self.least:
            raise ValidationError(f"The least is {self.show(self.least)}.")
        return found

    def prepare_value(self, value: Any) -> Any:
        return self.show(value) if isinstance(value, int) else value


class PlanForm(forms.ModelForm):
    """Sizes and times with their units; what is left empty is the portal's setting."""

    memory_bytes = UnitField(
        units.parse_size, units.size, SMALLEST_MEMORY_BYTES, label="Memory", required=False, help_text="512 MiB, 2 GiB"
    )
    disk_bytes = UnitField(
        units.parse_size, units.size, SMALLEST_DISK_BYTES, label="Temporary disk", required=False,
        help_text="Writable, kept in its memory, and thrown away when the worker ends.",
    )  # fmt: skip
    storage_bytes = UnitField(
        units.parse_size, units.size, SMALLEST_BYTES, label="Persistent storage", required=False,
        help_text="Kept at /data over restarts and sleeps. Empty: none.",
    )  # fmt: skip
    sleep_seconds = UnitField(
        units.parse_time, units.time, plans.SHORTEST_SLEEP_SECONDS, label="Sleeps after", required=False,
        help_text="15 minutes, 2 hours, never: for Spaces whose owner chose nothing.",
    )  # fmt: skip
    longest_sleep_seconds = UnitField(
        units.parse_time, units.time, plans.SHORTEST_SLEEP_SECONDS, label="The longest an owner may choose",
        required=False, help_text="Empty: any of the times that are offered.",
    )  # fmt: skip

    class Meta:
        model = Plan
        fields = (
            "slug", "name", "description", "for_everyone", "memory_bytes", "cpus", "processes", "disk_bytes",
            "storage_bytes", "replicas", "egress", "sleep_seconds", "may_choose_sleep", "longest_sleep_seconds",
            "may_never_sleep",
        )  # fmt: skip

    def clean_replicas(self) -> int:
        replicas: int = self.cleaned_data["replicas"]
        if replicas > MOST_REPLICAS:
            raise ValidationError(f"Give at most {MOST_REPLICAS}: they all run on one machine.")
        return replicas

    def clean_storage_bytes(self) -> int:
        return self.cleaned_data["storage_bytes"] or 0

    def clean_longest_sleep_seconds(self) -> int | None:
        return self.cleaned_data["longest_sleep_seconds"] or None

    def clean_memory_bytes(self) -> int | None:
        return self.cleaned_data["memory_bytes"] or None

    def clean_disk_bytes(self) -> int | None:
        return self.cleaned_data["disk_bytes"] or None

    def clean_cpus(self) -> float | None:
        cpus: float | None = self.cleaned_data["cpus"]
        if cpus is not None and not 0.01 <= cpus <= 1024:
            raise ValidationError("Give cores from 0.01 to 1024.")
        return cpus

    def clean_processes(self) -> int | None:
        processes: int | None = self.cleaned_data["processes"]
        if processes is not None and processes < 8:
            raise ValidationError("An app with its threads needs at least 8.")
        return processes


@admin.register(Plan)
class PlanAdmin(ModelAdmin):
    """What "hardware" there is. A change takes effect when a Space next starts."""

    form = PlanForm
    list_display = ("name", "slug", "is_default", "for_everyone", "what")
    list_filter = ("for_everyone",)
    search_fields = ("slug", "name")
    actions = ("make_default",)
    fieldsets = (
        (None, {"fields": ("slug", "name", "description", "for_everyone")}),
        (
            "A worker may use",
            {
                "fields": ("memory_bytes", "cpus", "processes", "disk_bytes", "storage_bytes", "replicas", "egress"),
                "description": "What is left empty is the portal’s setting. It counts when a Space next starts.",
            },
        ),
        ("Sleep", {"fields": ("sleep_seconds", "may_choose_sleep", "longest_sleep_seconds", "may_never_sleep")}),
    )

    @admin.display(description="What it gives")
    def what(self, plan: Plan) -> str:
        return plans.describe(plan)

    @admin.action(description="Make it the default", permissions=["change"])
    def make_default(self, request: HttpRequest, queryset: QuerySet[Plan]) -> None:
        chosen = list(queryset)
        if len(chosen) != 1:
            messages.error(request, "Choose one plan: there is exactly one default.")
            return
        plans.make_default(chosen[0])
        messages.success(request, f"Spaces whose owner chose no hardware get {chosen[0].name} when they next start.")

    def get_readonly_fields(self, request: HttpRequest, obj: Plan | None = None) -> tuple[str, ...]:
        return ("slug",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Plan | None = None) -> bool:
        return (obj is None or not obj.is_default) and super().has_delete_permission(request, obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """The default one is never among those that several may be deleted with."""
        deleted, count, needed, protected = super().get_deleted_objects(objs, request)
        return deleted, count, needed, [*protected, *(f"{plan}: the default" for plan in objs if plan.is_default)]


@admin.register(Space)
class SpaceAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "sdk", "stage", "visibility", "plan", "taken_down_at", "updated_at")
    list_filter = ("stage", "sdk", "visibility", "plan", "taken_down_at")
    list_select_related = ("owner", "plan")
    search_fields = ("name", "owner__name", "subdomain", "title")

    def has_change_permission(self, request: HttpRequest, obj: Space | None = None) -> bool:
        return ModelAdmin.has_change_permission(self, request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Space | None = None) -> list[str]:
        return [field.name for field in Space._meta.fields if field.name not in ("id", "plan", "password")]

    def get_form(self, request: HttpRequest, obj: Space | None = None, change: bool = False, **options: Any) -> Any:
        return super().get_form(request, obj, change, form=AssignPlanForm, **options)

    def save_model(self, request: HttpRequest, obj: Space, form: Any, change: bool) -> None:
        plans.choose_plan(obj, form.cleaned_data["plan"].slug if form.cleaned_data["plan"] else "", by_staff=True)


class AssignPlanForm(forms.ModelForm):
    """Any plan, also those that owners may not choose; it counts when the Space next starts."""

    class Meta:
        model = Space
        fields = ("plan",)

    def clean_plan(self) -> Plan | None:
        plan: Plan | None = self.cleaned_data["plan"]
        if plan is not None:
            plans.check_storage(self.instance, plan)
        return plan


@admin.register(Domain)
class DomainAdmin(ReadOnlyAdmin):
    list_display = ("name", "space", "verified_at", "checked_at", "failing_since", "problem")
    list_select_related = ("space__owner",)
    search_fields = ("name", "space__name", "space__owner__name")
    fields = ("name", "space", "created_at", "verified_at", "checked_at", "failing_since", "problem")


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin):
    list_display = ("space", "user", "created_at")
    list_select_related = ("space__owner", "user")
    search_fields = ("space__name", "space__owner__name", "user__username")


@admin.register(ShareLink)
class ShareLinkAdmin(ReadOnlyAdmin):
    """Which links there are; not their addresses."""

    list_display = ("space", "created_by", "created_at", "expires_at")
    list_display_links = None
    list_select_related = ("space__owner", "created_by")
    search_fields = ("space__name", "space__owner__name")
    fields = ("space", "created_by", "created_at", "expires_at")


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
