from __future__ import annotations

from django.urls import path

from apps.spaces.views import create, files, listing, page, settings, uploads

SPACE = "spaces/<str:owner>/<str:name>"

urlpatterns = [
    path("", listing.home, name="home"),
    path("spaces", listing.index, name="spaces"),
    path("new-space", create.new_space, name="new-space"),
    path("new-space/upload", create.new_space, name="new-space-upload"),
    path("new-space/name", create.check_name, name="check-name"),
    path("uploads", uploads.open_upload, name="open-upload"),
    path("uploads/<uuid:pk>", uploads.upload, name="upload"),
    path("uploads/<uuid:pk>/files/<path:path>", uploads.upload_file, name="upload-file"),
    path("notices/<int:pk>/dismiss", page.dismiss_notice, name="dismiss-notice"),
    path(SPACE, page.show, name="space"),
    path(f"{SPACE}/app", page.app, name="space-app"),
    path(f"{SPACE}/logs", page.logs, name="space-logs"),
    path(f"{SPACE}/logs/<str:kind>.log", page.download_log, name="space-log"),
    path(f"{SPACE}/settings", settings.settings, name="space-settings"),
    path(f"{SPACE}/tree/main", files.tree, name="space-tree"),
    path(f"{SPACE}/tree/main/<path:path>", files.tree, name="space-folder"),
    path(f"{SPACE}/blob/main/<path:path>", files.blob, name="space-blob"),
    path(f"{SPACE}/resolve/<str:revision>/<path:path>", files.resolve, name="space-resolve"),
    path(f"{SPACE}/commits/main", files.commits, name="space-commits"),
    path(f"{SPACE}/edit/main", files.edit, name="space-new-file"),
    path(f"{SPACE}/edit/main/<path:path>", files.edit, name="space-edit"),
    path(f"{SPACE}/delete/main/<path:path>", files.delete, name="space-delete-file"),
    path(f"{SPACE}/upload/main", uploads.add_files, name="space-upload"),
    path("<str:namespace>", listing.profile, name="profile"),
]
