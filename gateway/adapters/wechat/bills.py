"""Daily bills: asked for, fetched, checked against their hash.

Sources: WeChat's documents 4013071227, 4013071235, 4013071238 (2025) and design `providers.md` 3, Bills. The address is
good for minutes only, so it is used at once; the file itself is not signed, its hash in the signed first answer is what
vouches for it. The documents do not say whether the hash is of the packed or the unpacked file: either will do.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

import structlog

from gateway.adapters.wechat import bill_files
from gateway.adapters.wechat.client import Merchant, read_error
from gateway.adapters.wechat.values import AnswerMismatch, read_object, read_text
from gateway.ports import Bill, BillContent, BillKind, BillState, Result

logger = structlog.get_logger("gateway.wechat")

MAX_BILL_BYTES = 256 * 1024 * 1024
"""Unpacked; about a million rows. More than that must be fetched by a tool that streams."""
TRADE_TYPES: Mapping[BillKind, str] = {
    BillKind.TRADE: "ALL",
    BillKind.TRADE_PAID: "SUCCESS",
    BillKind.TRADE_REFUND: "REFUND",
}
ERROR_STATES: Mapping[str, BillState] = {
    "STATEMENT_CREATING": BillState.NOT_READY,
    "NO_STATEMENT_EXIST": BillState.NO_BILL,
}
GZIP_MAGIC = b"\x1f\x8b"
PACKING = "GZIP"


class BillCalls(Merchant):
    """gateway.ports.BillSource."""

    @property
    def bill_kinds(self) -> frozenset[BillKind]:
        return frozenset({*TRADE_TYPES, BillKind.FUND_FLOW})

    def download_bill(self, *, day: dt.date, kind: BillKind) -> Bill:
        """GET /v3/bill/tradebill or /v3/bill/fundflowbill, then the address it answers."""
        if kind not in self.bill_kinds:
            raise ValueError(f"WeChat has no bill {kind}")
        asked = self._send(lambda: self._ask_address(day, kind))
        bill = _undecided(asked) if isinstance(asked, Result) else self._read_address(*asked)
        if bill.state is BillState.UNKNOWN:
            logger.warning("wechat bill undecided", day=f"{day}", kind=kind, code=bill.code, reason=bill.message)
        return bill

    def read_bill(self, *, kind: BillKind, content: bytes) -> BillContent:
        """See `bill_files`; a row of another merchant makes the file invalid."""
        if kind not in self.bill_kinds:
            raise ValueError(f"WeChat has no bill {kind}")
        if kind is BillKind.FUND_FLOW:
            return bill_files.read_fund_flow(content)
        return bill_files.read_trades(content, mchid=self._credentials.mchid)

    def _ask_address(self, day: dt.date, kind: BillKind) -> tuple[int, Any]:
        if kind is BillKind.FUND_FLOW:
            answer = self._client.fundflow_bill(
                bill_date=day.isoformat(), account_type=self._credentials.fund_account_type, tar_type=PACKING
            )
        else:
            answer = self._client.trade_bill(bill_date=day.isoformat(), bill_type=TRADE_TYPES[kind], tar_type=PACKING)
        status, text = answer
        return status, text

    def _read_address(self, status: int, text: Any) -> Bill:
        try:
            data = read_object(text)
            if status != 200:
                code, message = read_error(status, data)
                state = BillState.UNKNOWN if status >= 500 else ERROR_STATES.get(code, BillState.UNKNOWN)
                return Bill(state=state, code=code.lower()[:64], message=message)
            url, digest = read_text(data, "download_url"), read_text(data, "hash_value").lower()
        except AnswerMismatch as mismatch:
            return Bill(state=BillState.UNKNOWN, code=mismatch.reason if status == 200 else f"http_{status}")
        if data.get("hash_type") != "SHA1":
            return Bill(state=BillState.UNKNOWN, code="hash_type_unknown", message=str(data.get("hash_type"))[:64])
        if not url.startswith(f"{self._base_url}/"):  # our signed request goes to WeChat and nowhere else
            return Bill(state=BillState.UNKNOWN, code="download_url_foreign")
        fetched = self._send(lambda: self._client.download_bill(url))
        return _undecided(fetched) if isinstance(fetched, Result) else _read_file(*fetched, digest)


def _undecided(result: Result) -> Bill:
    return Bill(state=BillState.UNKNOWN, code=result.code, message=result.message)


def _read_file(status: int, content: Any, digest: str) -> Bill:
    packed = content.encode() if isinstance(content, str) else bytes(content)
    if status != 200:
        return Bill(state=BillState.UNKNOWN, code=f"download_http_{status}", message=repr(packed[:200]))
    try:
        plain = unpack(packed)
    except ValueError as error:
        return Bill(state=BillState.UNKNOWN, code="content_malformed", message=str(error))
    provider_hash = f"sha1:{digest}"
    if digest not in (_sha1(plain), _sha1(packed)):
        return Bill(
            state=BillState.UNKNOWN,
            code="hash_mismatch",
            message=f"the file has sha1:{_sha1(plain)}",
            content=plain,
            provider_hash=provider_hash,
        )
    return Bill(state=BillState.READY, content=plain, provider_hash=provider_hash, is_checked=True)


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def unpack(content: bytes) -> bytes:
    """The file inside of gzip, or the content itself; ValueError when cut, damaged or larger than MAX_BILL_BYTES."""
    if not content.startswith(GZIP_MAGIC):
        return content
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(content, MAX_BILL_BYTES + 1)
    except zlib.error as error:
        raise ValueError("damaged gzip") from error
    if len(plain) > MAX_BILL_BYTES:
        raise ValueError("too large")
    if not unpacker.eof:
        raise ValueError("cut gzip")
    return plain
