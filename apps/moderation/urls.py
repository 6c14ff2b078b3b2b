from __future__ import annotations

from django.urls import path

from apps.moderation import views

app_name = "moderation"

urlpatterns = [
    path("spaces/<str:owner>/<str:name>/report", views.report, name="report"),
    path("moderation/", views.dashboard, name="dashboard"),
    path("moderation/queue", views.queue, name="queue"),
    path("moderation/log", views.log, name="log"),
    path("moderation/reports/<int:pk>", views.look, name="look"),
    path("moderation/reports/<int:pk>/<slug:verb>", views.act, name="act"),
]
