from __future__ import annotations

from django.urls import path

from apps.analytics import views

app_name = "analytics"

urlpatterns = [path("spaces/<str:owner>/<str:name>/analytics", views.analytics, name="analytics")]
