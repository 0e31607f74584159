"""The Celery application: queues `settle`, `callbacks`, `default`. Bells, callbacks and jobs only, JSON only."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "paysys.settings.production")
app = Celery("paysys")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
QUEUES = ("settle", "callbacks", "default")
