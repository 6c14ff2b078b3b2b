from __future__ import annotations

from django.urls import path

from apps.accounts import views

urlpatterns = [
    path("setup/<str:token>", views.setup, name="setup"),
    path("settings", views.settings, name="settings"),
    path("settings/tokens", views.tokens, name="tokens"),
    path("settings/tokens/<int:pk>/revoke", views.revoke_token, name="revoke-token"),
]
