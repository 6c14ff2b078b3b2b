"""Every page and API of the portal; each app holds its own addresses."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from portal.health_page import health_page

urlpatterns = [
    path("admin/health/", health_page, name="admin-health"),
    path("admin/", admin.site.urls),
    path("accounts/", include("allauth.urls")),
    path("", include("apps.accounts.urls")),
    path("", include("apps.moderation.urls")),
    path("", include("apps.analytics.urls")),
    path("", include("apps.embed.urls")),
    path("", include("apps.hub.urls")),
    path("", include("apps.gateway.urls")),
    path("", include("portal.health")),
    path("", include("apps.spaces.urls")),
]
