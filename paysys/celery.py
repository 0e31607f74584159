"""The Celery application. Bells, callbacks, checks at providers and jobs only, JSON only.

`provider` is a priority queue (settings.CELERY_TASK_QUEUES; on Redis kombu makes one of any queue).
"""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "paysys.settings.production")
app = Celery("paysys")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
