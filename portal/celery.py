"""The Celery application: builds and life-cycle commands run here, away from the web process."""

from __future__ import annotations

import os

from celery import Celery

from portal import file_queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

file_queue.register()
app = Celery("portico")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
