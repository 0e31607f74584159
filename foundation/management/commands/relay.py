"""`manage.py relay`: rings the workers while anything is due."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from foundation.relay import Relay


class Command(BaseCommand):
    help = "Polls the outboxes and other queues and rings the workers (one or more may run)."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        self.stdout.write("relay is listening")
        Relay().run_forever(stop)
