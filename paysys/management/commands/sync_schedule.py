"""`manage.py sync_schedule`: writes paysys.schedule to beat's tables."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from paysys import schedule


class Command(BaseCommand):
    help = "Writes every timed job of paysys.schedule to the tables of django-celery-beat."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{schedule.sync()} timed jobs are scheduled")
