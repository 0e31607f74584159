"""manage.py write_pages: the pages without state as files, now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from foundation import static_pages


class Command(BaseCommand):
    help = "Writes the pages without state (the API's document) as files for the web server or a CDN."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--into", default="", help="a directory; the setting PAYSYS_STATIC_PAGES_ROOT otherwise")

    def handle(self, *args: Any, **options: Any) -> None:
        root = options["into"] or settings.STATIC_PAGES_ROOT
        if not root:
            raise CommandError("say --into or set PAYSYS_STATIC_PAGES_ROOT")
        for file, size in static_pages.write_all(root=Path(root)).items():
            self.stdout.write(f"{file}: {size:,} bytes")
