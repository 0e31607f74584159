"""The SDK wechatpayv3 2.0.4 in public-key mode, and the mapping of all that a call can come to.

What the SDK leaves to its user is done here: base address, time-outs, and outcomes. It verifies the signature of 2xx
answers only, so an error answer decides little: each call names the error codes that are certain for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import structlog
from celery.exceptions import SoftTimeLimitExceeded
from wechatpayv3 import WeChatPay, WeChatPayType
from wechatpayv3.utils import load_public_key

from gateway.adapters.wechat.values import AnswerMismatch, read_object
from gateway.ports import CODE_ALREADY_PAID, CODE_NOT_FOUND, FindReceiver, Outcome, Receiver, Result, our_own

logger = structlog.get_logger("gateway.wechat")

APIV3_KEY_BYTES = 32
UNVERIFIED = "failed to verify the signature"
"""Text of the SDK's bare Exception."""
UNKNOWN_NUMBER = frozenset({"ORDER_NOT_EXIST", "ORDERNOTEXIST", "RESOURCE_NOT_EXISTS", "NOT_FOUND"})
PAID_ALREADY = frozenset({"ORDERPAID", "ORDER_PAID"})
ACCOUNT_TYPES = frozenset({"BASIC", "OPERATION", "FEES"})


@dataclass(frozen=True, kw_only=True)
class WechatConfig:
    """`credentials_file`: JSON with the keys of Credentials; key files are named relative to it."""

    base_url: str
    credentials_file: str
    connect_timeout_seconds: float
    read_timeout_seconds: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Credentials:
    """One merchant's secrets and contract; never printed.

    `transfer_scene_id` and `transfer_scene_report`: what WeChat granted for payouts, and the (info_type, info_content)
    pairs that each payout of this scene reports; empty where payouts were not granted. `fund_account_type`: the account
    whose movements the fund-flow bill lists.
    """

    mchid: str
    appid: str
    merchant_serial_no: str
    merchant_private_key: str
    apiv3_key: str
    platform_public_key_id: str
    platform_public_key: str
    transfer_scene_id: str = ""
    transfer_scene_report: tuple[tuple[str, str], ...] = ()
    fund_account_type: str = "BASIC"


class AddressNotSettable(Exception):
    """The SDK does not keep its address where the adapter sets it; nothing may be sent anywhere."""


def read_credentials(credentials_file: str) -> Credentials:
    """Reads the JSON file and the two key files; OSError or ValueError when something is missing or empty."""
    path = Path(credentials_file)
    data = json.loads(path.read_text(encoding="utf-8"))
    try:
        required = {
            "mchid": str(data["mchid"]),
            "appid": str(data["appid"]),
            "merchant_serial_no": str(data["merchant_serial_no"]),
            "merchant_private_key": (path.parent / data["merchant_private_key_file"]).read_text(encoding="ascii"),
            "apiv3_key": str(data["apiv3_key"]),
            "platform_public_key_id": str(data["platform_public_key_id"]),
            "platform_public_key": (path.parent / data["platform_public_key_file"]).read_text(encoding="ascii"),
        }
        report = tuple(
            (str(info["info_type"]), str(info["info_content"])) for info in data.get("transfer_scene_report_infos", [])
        )
        scene, account_type = data.get("transfer_scene_id", ""), data.get("fund_account_type", "BASIC")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} lacks {error}") from error
    if not all(required.values()) or len(required["apiv3_key"].encode()) != APIV3_KEY_BYTES:
        raise ValueError(f"{path.name}: a value is empty, or the APIv3 key has not {APIV3_KEY_BYTES} bytes")
    if account_type not in ACCOUNT_TYPES:
        raise ValueError(f"{path.name}: fund_account_type must be one of {sorted(ACCOUNT_TYPES)}")
    return Credentials(
        **required, transfer_scene_id=str(scene), transfer_scene_report=report, fund_account_type=account_type
    )


def build_client(config: WechatConfig, credentials: Credentials, *, is_partner: bool = False) -> WeChatPay:
    """The SDK's client, pointed at the configured address. No network. The only use of a private attribute.

    `is_partner`: calls are made as a service provider (服务商模式) for one of its sub-merchants.
    """
    client = WeChatPay(
        wechatpay_type=WeChatPayType.NATIVE,
        mchid=credentials.mchid,
        private_key=credentials.merchant_private_key,
        cert_serial_no=credentials.merchant_serial_no,
        appid=credentials.appid,
        apiv3_key=credentials.apiv3_key,
        public_key=credentials.platform_public_key,
        public_key_id=credentials.platform_public_key_id,
        timeout=(config.connect_timeout_seconds, config.read_timeout_seconds),
        partner_mode=is_partner,
    )
    if not isinstance(getattr(client._core, "_gate_way", None), str):
        raise AddressNotSettable("wechatpayv3 has no _core._gate_way any more: the address cannot be set")
    client._core._gate_way = config.base_url.rstrip("/")
    return client


class Merchant:
    """One merchant at one address, also as the service provider of others (`find_receiver`).

    Holds no connection; one instance serves all threads.
    """

    def __init__(self, config: WechatConfig, find_receiver: FindReceiver = our_own) -> None:
        self._find_receiver = find_receiver
        self._base_url = config.base_url.rstrip("/")
        self._credentials = read_credentials(config.credentials_file)
        try:
            self._public_key = load_public_key(self._credentials.platform_public_key)
            self._client = build_client(config, self._credentials)
            self._partner_client = build_client(config, self._credentials, is_partner=True)
        except AddressNotSettable:
            raise
        except Exception as error:  # the SDK raises bare exceptions for keys it cannot load
            raise ValueError("a key file holds no usable key") from error

    def _ask(
        self,
        call: str,
        number: str,
        send: Callable[[], tuple[int, Any]],
        read: Callable[[Mapping[str, Any]], Result],
        errors: Mapping[str, Outcome] | None = None,
    ) -> Result:
        """One call. `read` sees the content of a signed 2xx; `errors`: the error codes that are certain."""
        answer = self._send(send)
        result = answer if isinstance(answer, Result) else _read_answer(call, *answer, read, errors or {})
        if result.outcome is Outcome.UNKNOWN:
            logger.warning("wechat call undecided", call=call, number=number, code=result.code, reason=result.message)
        return result

    def _send(self, send: Callable[[], tuple[int, Any]]) -> tuple[int, Any] | Result:
        """The SDK's answer, status and body, or UNKNOWN for the many ways in which there is none."""
        try:
            return send()
        except SoftTimeLimitExceeded:
            raise
        except requests.Timeout as error:
            return Result(outcome=Outcome.UNKNOWN, code="timeout", message=type(error).__name__)
        except requests.RequestException as error:
            return Result(outcome=Outcome.UNKNOWN, code="network_error", message=type(error).__name__)
        except Exception as error:  # the SDK raises a bare Exception for a bad signature, others for odd headers
            code = "answer_unverified" if str(error) == UNVERIFIED else "call_failed"
            return Result(outcome=Outcome.UNKNOWN, code=code, message=repr(error)[:200])

    def _client_for(self, receiver: Receiver | None) -> tuple[WeChatPay, dict[str, str]]:
        """The client, and what it is told of the sub-merchant."""
        if receiver is None:
            return self._client, {}
        return self._partner_client, {"sub_mchid": receiver.account_no}

    def _check_merchant(
        self, data: Mapping[str, Any], fields: tuple[str, ...], *, receiver: Receiver | None = None
    ) -> None:
        """Ours by `fields` (mchid, appid); for a sub-merchant's the provider's are ours and the other is his."""
        prefix = "" if receiver is None else "sp_"
        for field in fields:
            if data.get(prefix + field) != getattr(self._credentials, field):
                raise AnswerMismatch(f"{prefix}{field}_mismatch")
        if receiver is not None and data.get("sub_mchid") != receiver.account_no:
            raise AnswerMismatch("sub_mchid_mismatch")


def read_error(status: int, data: Mapping[str, Any]) -> tuple[str, str]:
    """Code and message of an error answer."""
    return str(data.get("code") or f"http_{status}"), str(data.get("message") or "")[:256]


def _read_answer(
    call: str,
    status: int,
    text: Any,
    read: Callable[[Mapping[str, Any]], Result],
    errors: Mapping[str, Outcome],
) -> Result:
    """An HTTP answer of the SDK: 2xx are signed. A body that is not what the documents say is UNKNOWN."""
    try:
        if status == 204 and call == "close":
            return read({})
        if status == 200:
            return read(read_object(text))
        data = read_object(text)
    except AnswerMismatch as mismatch:
        code = mismatch.reason if status == 200 else f"http_{status}"
        return Result(outcome=Outcome.UNKNOWN, code=code, message=f"{call} answered {status}")
    code, message = read_error(status, data)
    if status >= 500 or status == 429:
        return Result(outcome=Outcome.UNKNOWN, code=code.lower()[:64], message=message)
    if code in UNKNOWN_NUMBER:
        return Result(outcome=Outcome.UNKNOWN, code=CODE_NOT_FOUND, message=message)
    plain_code = CODE_ALREADY_PAID if code in PAID_ALREADY else code.lower()[:64]
    return Result(outcome=errors.get(code, Outcome.UNKNOWN), code=plain_code, message=message)
