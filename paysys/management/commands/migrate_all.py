"""`manage.py migrate_all`: migrates every database in use, then loads the schedule."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections, router

from foundation.db import checks, roles
from orders.selectors import places
from paysys import schedule


class Command(BaseCommand):
    help = (
        "Runs migrate on every database of the settings, one after the other, and loads the schedule. New, empty "
        "databases are filled; a role map that disagrees with where the order tables are is refused before anything."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        aliases = roles.all_aliases()
        self._refuse_wrong_map(aliases)
        for alias in aliases:
            self.stdout.write(f"migrating {alias}")
            call_command("migrate", database=alias, interactive=False, verbosity=0)
        self._refuse_missing_tables(aliases)
        self.stdout.write(f"{schedule.sync()} timed jobs are scheduled")

    def _refuse_wrong_map(self, aliases: list[str]) -> None:
        problems = checks.check_role_map(None) or places.check_places(None, databases=aliases)
        if problems:
            lines = [f"{problem.id}: {problem.msg} {problem.hint or ''}".strip() for problem in problems]
            raise CommandError("Nothing was migrated.\n" + "\n".join(lines))

    def _refuse_missing_tables(self, aliases: list[str]) -> None:
        """A database that was migrated under another map has "no migrations to apply" and yet lacks tables."""
        missing = []
        for alias in aliases:
            with connections[alias].cursor() as cursor:
                present = set(connections[alias].introspection.table_names(cursor))
            wanted = [model for model in apps.get_models() if model._meta.managed and not model._meta.proxy]
            tables = [model._meta.db_table for model in wanted if router.allow_migrate_model(alias, model)]
            missing += [f"{alias}: {table}" for table in tables if table not in present]
        if missing:
            raise CommandError(
                "Migrations are recorded as applied, but tables are missing (was the role map changed?): "
                + ", ".join(missing)
            )
