"""kill -9 of the MariaDB that holds the ledger, and its new start, by the commands that the provisioner hands over."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from django.db import connections

from funds.services import ledger
from tests.provision import is_mariadb_ready

START_SECONDS = 60.0


class LedgerServer:
    """The server of the funds database. Kill it only where nobody else uses it (marker `kills_services`)."""

    def __init__(self, log: Path) -> None:
        self.port = int(connections[ledger.alias()].settings_dict["PORT"])
        services = json.loads(os.environ["PAYSYS_TEST_SERVICES"]).values()
        (service,) = (service for service in services if service["port"] == self.port)
        self.kill_command, self.start_command = service["kill_command"], service["start_command"]
        self.log = log
        self.started: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """Returns when nobody answers any more."""
        subprocess.run(self.kill_command, check=True, capture_output=True)
        if self.started is not None:
            self.started.wait(START_SECONDS)
        _wait(lambda: not is_mariadb_ready(port=self.port), "MariaDB is gone")

    def start(self) -> float:
        """Returns when it answers again, recovered: seconds that it took.

        The dead one's lock on the data files may outlive it by a moment: the new one gives up and is started again.
        """
        began = time.monotonic()
        while not is_mariadb_ready(port=self.port):
            assert time.monotonic() < began + START_SECONDS, self.log.read_text(errors="replace")[-4000:]
            if self.started is None or self.started.poll() is not None:
                with self.log.open("ab") as log:
                    self.started = subprocess.Popen(
                        self.start_command,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
            time.sleep(0.02)
        return time.monotonic() - began


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {START_SECONDS} s: {what}"
        time.sleep(0.01)
