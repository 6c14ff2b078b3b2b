"""People in the admin. Signing in there goes through the portal's own page, with its limits and second steps."""

from __future__ import annotations

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from apps.accounts.models import AccessToken, Namespace, User

admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    """A username is its Namespace's name, so it is set once; suspension goes through moderation."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "is_moderator", "is_staff", "is_active", "date_joined", "last_login")
    list_filter = ("is_moderator", "is_staff", "is_superuser", "is_active")
    search_fields = ("username", "email")
    readonly_fields = ("is_active", "last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Rights", {"fields": ("is_active", "is_moderator", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        fields = tuple(super().get_readonly_fields(request, obj))
        return (*fields, "username") if obj else fields


@admin.register(Namespace)
class NamespaceAdmin(ModelAdmin):
    list_display = ("name", "kind", "suspended_at", "created_at")
    list_filter = ("kind", "suspended_at")
    search_fields = ("name",)
    readonly_fields = ("name", "kind", "suspended_at", "created_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(AccessToken)
class AccessTokenAdmin(ModelAdmin):
    """Can be looked at and revoked. There is nothing to show of the token itself."""

    list_display = ("name", "user", "role", "created_at", "last_used_at")
    list_filter = ("role",)
    search_fields = ("name", "user__username")
    fields = readonly_fields = ("name", "user", "role", "created_at", "last_used_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
