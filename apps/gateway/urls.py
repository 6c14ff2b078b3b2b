from __future__ import annotations

from django.urls import path

from apps.gateway import views

urlpatterns = [
    path("spaces/<str:owner>/<str:name>/open", views.open_space, name="gateway-open"),
    path("internal/ask", views.ask, name="gateway-ask"),
    path("open/<slug:subdomain>", views.open_subdomain, name="gateway-open-subdomain"),
]
