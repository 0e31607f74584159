"""Real processes against the test databases: web, worker, relay and the provider simulator.

Used by the flow tests. Every process is a group of its own, so that a test can kill -9 exactly one of them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import requests
from django.conf import settings
from django.db import connections

from paysys import programs
from paysys.supervisor import free_port

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
URL_OF_ALIAS = {"default": "DATABASE_URL", "funds": "FUNDS_DATABASE_URL", "redpacket": "REDPACKET_DATABASE_URL"}


def environment(**more: str) -> dict[str, str]:
    """The environment of a child: the test databases instead of the ones they are made from."""
    found = dict(os.environ)
    for alias in settings.DATABASES:
        config = connections[alias].settings_dict
        variable = URL_OF_ALIAS.get(alias, f"{alias.upper()}_DATABASE_URL")
        found[variable] = (
            f"mysql://{config['USER']}:{config['PASSWORD']}@{config['HOST']}:{config['PORT']}/{config['NAME']}"
        )
    found |= {
        "DJANGO_SETTINGS_MODULE": "paysys.settings.test",
        "PAYSYS_LOG_FORMAT": "console",
        "PAYSYS_LOG_LEVEL": "WARNING",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(ROOT),
    }
    return {**found, **more}


class Process:
    """One child with its log file."""

    def __init__(self, name: str, command: list[str], env: dict[str, str], directory: Path) -> None:
        self.name, self.command, self.env = name, command, env
        self.log = directory / f"{name}.log"
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self) -> Process:
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def kill(self) -> None:
        """kill -9 of the whole group: the process and every child of its pool."""
        assert self.popen is not None
        os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()

    def stop(self) -> None:
        if self.popen is None or self.popen.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGTERM)
        try:
            self.popen.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""


class System:
    """Web, worker, relay and simulator; start only what a test needs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, self.simulator_port = free_port(), free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.simulator_url = f"http://127.0.0.1:{self.simulator_port}"
        self.env = environment(
            PAYSYS_PUBLIC_BASE_URL=self.base_url,
            ALIPAY_GATEWAY_URL=f"{self.simulator_url}/gateway.do",
            ALIPAY_CREDENTIALS_FILE=str(directory / "simulator" / "alipay.json"),
            WECHAT_BASE_URL=self.simulator_url,
            WECHAT_CREDENTIALS_FILE=str(directory / "simulator" / "credentials.json"),
            WECHAT_OAUTH_AUTHORIZE_URL=f"{self.simulator_url}/connect/oauth2/authorize",
            WECHAT_OAUTH_TOKEN_URL=f"{self.simulator_url}/sns/oauth2/access_token",
            WECHAT_OAUTH_APPID="wx00000000simulat",
            WECHAT_OAUTH_SECRET="simulator",
            KUAIQIAN_BASE_URL=self.simulator_url,
            KUAIQIAN_CARD_BASE_URL=self.simulator_url,
            KUAIQIAN_CREDENTIALS_FILE=str(directory / "simulator" / "kuaiqian.json"),
            SIMULATOR_KUAIQIAN_PAYOUT_NOTIFY_URL=f"{self.base_url}/notify/kuaiqian/payout",
        )
        self.simulator = self._process(
            "simulator", programs.simulator(directory=directory / "simulator", port=self.simulator_port)
        )
        self.web = self._process("web", programs.web(port=self.port))
        self.worker = self._process("worker", programs.worker())
        self.relay = self._process("relay", programs.relay())

    def _process(self, name: str, command: list[str]) -> Process:
        return Process(name, command, self.env, self.directory)

    def start(self, *names: str) -> System:
        if "simulator" in names:
            command = programs.simulator_init(directory=self.directory / "simulator")
            subprocess.run(command, cwd=ROOT, env=self.env, check=True)
        for name in names:
            getattr(self, name).start()
        if "simulator" in names:
            self._wait_for(f"{self.simulator_url}/healthz", self.simulator)
        if "web" in names:
            self._wait_for(f"{self.base_url}/readyz", self.web)
        return self

    def _wait_for(self, url: str, process: Process) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.URLError, OSError):
                if urllib.request.urlopen(url, timeout=2).status == 200:
                    return
            assert process.popen is not None
            assert process.popen.poll() is None, process.tail()
            time.sleep(0.1)
        raise AssertionError(f"{url} is not ready: {process.tail()}")

    def stop(self) -> None:
        for process in (self.relay, self.worker, self.web, self.simulator):
            process.stop()

    def simulate(self, method: str, path: str, body: object = None) -> requests.Response:
        """A call of the simulator's control interface."""
        return requests.request(method, f"{self.simulator_url}/_sim/{path}", json=body, timeout=30)

    def api(self, token: str, method: str, path: str, body: object = None, key: str = "") -> requests.Response:
        """A call of our API as the owner of the token."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if key:
            headers["Idempotency-Key"] = key
        return requests.request(method, f"{self.base_url}/api/v1/{path}", json=body, headers=headers, timeout=30)
