from __future__ import annotations

from django.urls import path

from apps.embed import views

app_name = "embed"
urlpatterns = [
    path("spaces/<str:owner>/<str:name>/api", views.api, name="api"),
    path("spaces/<str:owner>/<str:name>/openapi.json", views.openapi, name="openapi"),
    path("oembed", views.oembed, name="oembed"),
    path("embed/badge.svg", views.badge, name="badge"),
    path("embed/spaces/<str:owner>/<str:name>/preview.png", views.preview, name="preview"),
    path("embed/gradio.js", views.gradio_js, name="script"),
    path("embed/spaces/<str:owner>/<str:name>", views.space_description, name="space"),
    path("embed/<str:version>/<path:path>", views.native_file, name="native"),
    path("assets/<str:name>", views.native_style, name="native-style"),
]
