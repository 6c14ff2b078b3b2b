from __future__ import annotations

from django.urls import path, re_path

from apps.embed import files, views

app_name = "embed"
urlpatterns = [
    path("spaces/<str:owner>/<str:name>/api", views.api, name="api"),
    path("spaces/<str:owner>/<str:name>/api/upload", files.upload, name="api-upload"),
    path("spaces/<str:owner>/<str:name>/api/file", files.file, name="api-file"),
    path("spaces/<str:owner>/<str:name>/openapi.json", views.openapi, name="openapi"),
    path("spaces/<str:owner>/<str:name>/asyncapi.json", views.asyncapi, name="asyncapi"),
    path("oembed", views.oembed, name="oembed"),
    path("embed/badge.svg", views.badge, name="badge"),
    path("embed/spaces/<str:owner>/<str:name>/preview.png", views.preview, name="preview"),
    path("embed/gradio.js", views.gradio_js, name="script"),
    re_path(r"^embed/gradio-(?P<digest>[0-9a-f]{20})\.js$", views.gradio_js_version, name="script-version"),
    path("embed/spaces/<str:owner>/<str:name>", views.space_description, name="space"),
    path("embed/<str:version>/<path:path>", views.native_file, name="native"),
    path("assets/<str:name>", views.native_style, name="native-style"),
]
