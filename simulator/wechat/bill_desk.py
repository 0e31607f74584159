"""Daily bills: asking for one, and fetching it by the address that was answered.

A bill can be had from 10:00 of the next day on, for three months; until then it is being generated. The address carries
a token, is good for five minutes and needs a signature of its own.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

from werkzeug.wrappers import Request

from simulator.clock import moment
from simulator.faults import BILL_FAULTS, Rule
from simulator.wechat import bill_files
from simulator.wechat.answers import Answer, Failure, parameter_error
from simulator.world import World

READY_HOUR = 10
"""Beijing; WeChat begins at nine and says to come after ten."""
KEPT_DAYS = 92
"""Three months."""
ADDRESS_SECONDS = 300.0
SETTING_OFFSET = "bill_offset_seconds"
"""How far the bill office's clock is ahead of the simulator's: lets a test have today's bill today."""


class BillDesk:
    """Holds the files that were asked for; they are gone when the simulator stops, as an address would be."""

    def __init__(self, *, world: World, channel_name: str) -> None:
        self._world = world
        self._channel_name = channel_name
        self._lock = threading.Lock()
        self._files: dict[str, tuple[float, bytes]] = {}

    def ask_trade(self, *, request: Request, body: bytes, arguments: Mapping[str, Any]) -> Answer:
        kind = request.args.get("bill_type") or "ALL"
        if kind not in ("ALL", "SUCCESS", "REFUND"):
            raise parameter_error(field="bill_type", issue="必须是 ALL、SUCCESS 或 REFUND")
        return self._ask(request=request, operation="trade_bill", kind=kind)

    def ask_fund_flow(self, *, request: Request, body: bytes, arguments: Mapping[str, Any]) -> Answer:
        account = request.args.get("account_type") or "BASIC"
        if account not in ("BASIC", "OPERATION", "FEES"):
            raise parameter_error(field="account_type", issue="必须是 BASIC、OPERATION 或 FEES")
        if account != "BASIC":  # this merchant has one account
            raise Failure(status=400, code="NO_STATEMENT_EXIST", message="账单文件不存在")
        return self._ask(request=request, operation="fund_flow_bill", kind="FUND_FLOW")

    def fetch(self, token: str) -> bytes | None:
        """The file of an address that is still good."""
        with self._lock:
            self._forget()
            found = self._files.get(token)
        return None if found is None else found[1]

    def _ask(self, *, request: Request, operation: str, kind: str) -> Answer:
        day, packing = self._day(request), request.args.get("tar_type")
        if packing not in (None, "GZIP"):
            raise parameter_error(field="tar_type", issue="必须是 GZIP")
        struck = self._world.faults.draw(
            among=BILL_FAULTS, channel=self._channel_name, operation=operation, attempt_no=day.isoformat()
        )
        if not self._is_ready(day) or "bill_not_ready" in struck:
            raise Failure(status=400, code="STATEMENT_CREATING", message="账单生成中")
        rows = bill_files.list_rows(world=self._world, channel_name=self._channel_name, kind=kind, day=day)
        if "bill_empty" in struck or (not rows and "bill_extra_row" not in struck):
            raise Failure(status=400, code="NO_STATEMENT_EXIST", message="账单文件不存在")
        content = bill_files.write(
            world=self._world, channel_name=self._channel_name, kind=kind, day=day, faults=_faults(struck)
        )
        hashed = content + b"\n" if "bill_wrong_hash" in struck else content
        token = self._keep(gzip.compress(content) if packing else content)
        return Answer(
            status=200,
            content={
                "hash_type": "SHA1",
                "hash_value": hashlib.sha1(hashed, usedforsecurity=False).hexdigest(),
                "download_url": f"{request.host_url}v3/billdownload/file?token={token}",
            },
        )

    def _day(self, request: Request) -> dt.date:
        text = request.args.get("bill_date", "")
        try:
            day = dt.date.fromisoformat(text)
        except ValueError as error:
            raise parameter_error(field="bill_date", issue="必须是 YYYY-MM-DD") from error
        if text != day.isoformat():  # the compact form is ISO, too
            raise parameter_error(field="bill_date", issue="必须是 YYYY-MM-DD")
        today = moment(self._now()).date()
        if not today - dt.timedelta(days=KEPT_DAYS) <= day < today:
            raise Failure(status=400, code="INVALID_REQUEST", message="只能下载三个月内、今天以前的账单")
        return day

    def _now(self) -> float:
        """By the bill office's clock."""
        return self._world.clock.seconds() + float(self._world.books.read_setting(SETTING_OFFSET) or 0.0)

    def _is_ready(self, day: dt.date) -> bool:
        now = moment(self._now())
        return now.date() > day + dt.timedelta(days=1) or now.hour >= READY_HOUR

    def _keep(self, content: bytes) -> str:
        token = secrets.token_urlsafe(48)
        with self._lock:
            self._forget()
            self._files[token] = (time.monotonic() + ADDRESS_SECONDS, content)
        return token

    def _forget(self) -> None:
        now = time.monotonic()
        self._files = {token: file for token, file in self._files.items() if file[0] > now}


def _faults(struck: Mapping[str, Rule]) -> bill_files.Faults:
    return bill_files.Faults(
        extra_row="bill_extra_row" in struck,
        missing_row="bill_missing_row" in struck,
        changed_row="bill_changed_row" in struck,
        wrong_summary="bill_wrong_summary" in struck,
        cut="bill_cut" in struck,
    )
