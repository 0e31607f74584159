"""`manage.py migrate_all`: migrates every database in use, then loads the schedule."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from foundation.db import roles
from paysys import schedule


class Command(BaseCommand):
    help = "Runs migrate on every database of the role map, one after the other, and loads the schedule."

    def handle(self, *args: Any, **options: Any) -> None:
        for alias in roles.all_aliases():
            self.stdout.write(f"migrating {alias}")
            call_command("migrate", database=alias, interactive=False, verbosity=0)
        self.stdout.write(f"{schedule.sync()} timed jobs are scheduled")
