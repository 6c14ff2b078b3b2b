from __future__ import annotations

from django.urls import path

from apps.hub import views

urlpatterns = [
    path("api/whoami-v2", views.whoami),
    path("api/spaces/<str:owner>/<str:name>", views.space_info),
    path("api/spaces/<str:owner>/<str:name>/revision/<path:revision>", views.space_info),
    path("api/spaces/<str:owner>/<str:name>/runtime", views.space_runtime),
]
