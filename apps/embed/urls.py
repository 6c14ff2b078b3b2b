from __future__ import annotations

from django.urls import path

from apps.embed import views

app_name = "embed"
urlpatterns = [
    path("oembed", views.oembed, name="oembed"),
    path("embed/badge.svg", views.badge, name="badge"),
    path("embed/spaces/<str:owner>/<str:name>/preview.png", views.preview, name="preview"),
    path("embed/gradio.js", views.gradio_js, name="script"),
    path("embed/spaces/<str:owner>/<str:name>", views.space_description, name="space"),
]
