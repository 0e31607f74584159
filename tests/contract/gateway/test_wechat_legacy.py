"""企业付款 (v2): signature vectors, hostile XML, every kind of answer, and the whole way to the simulator by TLS."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from foundation import clock
from gateway.adapters import wechat_legacy
from gateway.adapters.wechat import AnswerMismatch, WechatAdapter, WechatConfig
from gateway.adapters.wechat_legacy import WechatLegacyAdapter, WechatLegacyConfig
from gateway.ports import BillKind, BillRowKind, Outcome, Payout, PayoutRequest, Prepay, Result
from simulator import credentials, server
from tests.contract.gateway.test_wechat_cases import shared_cases

NUMBER = "WD100010001202611231000000010003"
MCHID = "1900000001"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[server.Handle, Path]]:
    directory = tmp_path_factory.mktemp("legacy")
    credentials.initialise(directory=directory)
    handle = server.start(directory=directory, legacy_port=0)
    yield handle, directory
    handle.stop()


@pytest.fixture
def adapter(running: tuple[server.Handle, Path]) -> WechatLegacyAdapter:
    handle, directory = running
    faults(handle)
    return build(handle.legacy_url, directory)


def build(url: str, directory: Path) -> WechatLegacyAdapter:
    return WechatLegacyAdapter(
        WechatLegacyConfig(
            base_url=url,
            credentials_file=str(directory / "wechat_legacy.json"),
            connect_timeout_seconds=2.0,
            read_timeout_seconds=1.0,
        )
    )


def faults(handle: server.Handle, *rules: dict[str, Any]) -> None:
    answer = requests.put(f"{handle.url}/_sim/faults", json={"rules": list(rules), "seed": 1}, timeout=5)
    assert answer.status_code == 200, answer.text


def books(handle: server.Handle) -> dict[str, str]:
    rows = requests.get(f"{handle.url}/_sim/books", timeout=5).json()["payouts"]
    return {row["payout_no"]: row["state"] for row in rows}


def request(number: str = NUMBER, **changes: Any) -> PayoutRequest:
    return PayoutRequest(
        **{
            "payout_no": number,
            "amount_fen": 5000,
            "payee_account": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
            "payee_name": "张三 & <李四>",
            "remark": "提现",
            "notify_url": "",
            "is_first": True,
            **changes,
        }
    )


class TestSignature:
    def test_own_vectors(self) -> None:
        given = {"b": "2", "a": "张", "empty": "", "sign": "ignored"}
        key = "0123456789abcdefghijklmnopqrstuv"
        assert wechat_legacy.sign_parameters(given, api_key=key) == "47C5559ECF6ADF7B77EA8F771759BBF1"
        signed = {**given, "sign": wechat_legacy.sign_parameters(given, api_key=key, sign_type="HMAC-SHA256")}
        assert wechat_legacy.is_signed(signed, api_key=key, sign_type="HMAC-SHA256")
        assert not wechat_legacy.is_signed(signed, api_key=key)
        assert not wechat_legacy.is_signed({**signed, "a": "李"}, api_key=key, sign_type="HMAC-SHA256")
        assert not wechat_legacy.is_signed({"a": "1"}, api_key=key)

    def test_published_vectors(self) -> None:
        for case in shared_cases("wx2_"):
            given, key = case["input"]["params"], case["input"]["api_key"]
            assert wechat_legacy.sign_parameters(given, api_key=key) == case["expected"]["md5"]
            if "hmac_sha256" in case["expected"]:
                signed = wechat_legacy.sign_parameters(given, api_key=key, sign_type="HMAC-SHA256")
                assert signed == case["expected"]["hmac_sha256"]
            if "xml_wechatpy" in case["expected"]:
                read = wechat_legacy.read_xml(case["expected"]["xml_wechatpy"].encode())
                assert read == {**given, "sign": case["expected"]["md5"]}
                assert wechat_legacy.is_signed(read, api_key=key)
            assert not wechat_legacy.is_signed({**case["input"]["params"], "sign": "foo"}, api_key=key)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "xml_malformed"),
        (b"<xml><a>1</a>", "xml_malformed"),
        (b"<xml><a>1</a><a>2</a></xml>", "xml_malformed"),
        (b"<xml><a><b>1</b></a></xml>", "xml_malformed"),
        (b"<xml><a>&other;</a></xml>", "xml_malformed"),
        (b"\xff\xfe<\x00x\x00", "xml_malformed"),
        (b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><xml><a>&e;</a></xml>', "xml_declaration"),
        (b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><xml><a>&b;</a></xml>', "xml_declaration"),
        (b"<xml>" + b"<a>1</a>" * 10_000 + b"</xml>", "xml_too_large"),
    ],
)
def test_hostile_xml_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(AnswerMismatch) as caught:
        wechat_legacy.read_xml(content)
    assert caught.value.reason == reason


def paid(**changes: str) -> dict[str, str]:
    return {
        "return_code": "SUCCESS",
        "result_code": "SUCCESS",
        "mchid": MCHID,
        "partner_trade_no": NUMBER,
        "payment_no": "1000018301201505190181489473",
        "payment_time": "2026-11-23 12:00:05",
        **changes,
    }


def found(**changes: str) -> dict[str, str]:
    return {
        "return_code": "SUCCESS",
        "result_code": "SUCCESS",
        "mch_id": MCHID,
        "partner_trade_no": NUMBER,
        "detail_id": "1000018301201505190181489473",
        "status": "SUCCESS",
        "payment_amount": "5000",
        "payment_time": "2026-11-23 12:00:05",
        **changes,
    }


def failed(code: str) -> dict[str, str]:
    return {"return_code": "SUCCESS", "result_code": "FAIL", "err_code": code, "err_code_des": "不行"}


class TestAnswers:
    """The answers are put in the place of the network's."""

    @pytest.fixture
    def answers(
        self, adapter: WechatLegacyAdapter, monkeypatch: pytest.MonkeyPatch, running: tuple[server.Handle, Path]
    ) -> list[dict[str, str]]:
        given: list[dict[str, str]] = []
        monkeypatch.setattr(adapter, "_send", lambda path, parameters: given.pop(0))
        own = json.loads((running[1] / "wechat_legacy.json").read_text())["mchid"]
        monkeypatch.setattr(f"{__name__}.MCHID", own)
        return given

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, (Outcome.SUCCESS, "")),
            ({"return_code": "FAIL"}, (Outcome.UNKNOWN, "return_fail")),
            ({"result_code": "FAIL"}, (Outcome.UNKNOWN, "result_fail")),
            ({"mchid": "1"}, (Outcome.UNKNOWN, "number_or_merchant_mismatch")),
            ({"partner_trade_no": "WD2"}, (Outcome.UNKNOWN, "number_or_merchant_mismatch")),
            ({"payment_no": ""}, (Outcome.UNKNOWN, "payment_no_malformed")),
            ({"payment_time": "today"}, (Outcome.UNKNOWN, "time_malformed")),
        ],
    )
    def test_paying(
        self,
        adapter: WechatLegacyAdapter,
        answers: list[dict[str, str]],
        changes: dict[str, str],
        expected: tuple[Outcome, str],
    ) -> None:
        answers.append(paid(**changes))
        result = adapter.pay_out(request())
        assert (result.outcome, result.code) == expected

    @pytest.mark.parametrize("code", ["SYSTEMERROR", "NOTENOUGH", "SEND_FAILED", "FATAL_ERROR", "FREQ_LIMIT", "NEW"])
    def test_most_errors_decide_nothing(
        self, adapter: WechatLegacyAdapter, answers: list[dict[str, str]], code: str
    ) -> None:
        answers.append(failed(code))
        result = adapter.pay_out(request())
        assert (result.outcome, result.code) == (Outcome.UNKNOWN, code.lower())

    def test_a_refusal_of_the_first_request_is_final_when_the_number_is_not_known(
        self, adapter: WechatLegacyAdapter, answers: list[dict[str, str]]
    ) -> None:
        answers += [failed("NAME_MISMATCH"), failed("NOT_FOUND")]
        assert adapter.pay_out(request()).outcome is Outcome.FAILED
        answers += [failed("NAME_MISMATCH"), found()]
        assert adapter.pay_out(request()).outcome is Outcome.SUCCESS
        answers += [failed("NAME_MISMATCH")]
        assert adapter.pay_out(request(is_first=False)).outcome is Outcome.UNKNOWN
        assert answers == []

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, (Outcome.SUCCESS, "")),
            ({"status": "PROCESSING"}, (Outcome.PENDING, "processing")),
            ({"status": "FAILED", "reason": "余额不足"}, (Outcome.FAILED, "failed")),
            ({"status": "MELTED"}, (Outcome.UNKNOWN, "melted")),
            ({"status": ""}, (Outcome.UNKNOWN, "status_missing")),
            ({"payment_amount": "50.00"}, (Outcome.UNKNOWN, "amount_malformed")),
            ({"payment_amount": "0"}, (Outcome.UNKNOWN, "amount_malformed")),
            ({"mch_id": "1"}, (Outcome.UNKNOWN, "number_or_merchant_mismatch")),
        ],
    )
    def test_querying_looks_at_the_status(
        self,
        adapter: WechatLegacyAdapter,
        answers: list[dict[str, str]],
        changes: dict[str, str],
        expected: tuple[Outcome, str],
    ) -> None:
        answers.append(found(**changes))
        result = adapter.query_payout(payout_no=NUMBER)
        assert (result.outcome, result.code) == expected


class TestSimulator:
    def test_paid_at_once_and_once(self, adapter: WechatLegacyAdapter, running: tuple[server.Handle, Path]) -> None:
        first = adapter.pay_out(request("LG1"))
        assert first.outcome is Outcome.SUCCESS
        assert adapter.pay_out(request("LG1")) == first
        asked = adapter.query_payout(payout_no="LG1")
        assert (asked.outcome, asked.amount_fen, asked.provider_no) == (Outcome.SUCCESS, 5000, first.provider_no)
        assert asked.happened_at == first.happened_at
        other = adapter.pay_out(request("LG1", amount_fen=5001))
        assert (other.outcome, other.code) == (Outcome.UNKNOWN, "fatal_error")
        assert books(running[0])["LG1"] == "SUCCESS"
        missing = adapter.query_payout(payout_no="LG999")
        assert (missing.outcome, missing.code) == (Outcome.UNKNOWN, "not_found")

    @pytest.mark.parametrize(
        ("fault", "code", "after"),
        [
            ("system_error_but_done", "systemerror", Outcome.SUCCESS),
            ("system_error_not_done", "systemerror", Outcome.UNKNOWN),
            ("unknown_code_but_done", "new_policy", Outcome.SUCCESS),
            ("unknown_code_not_done", "new_policy", Outcome.UNKNOWN),
            ("timeout_after_effect", "timeout", Outcome.SUCCESS),
            ("timeout_before_effect", "timeout", Outcome.UNKNOWN),
            ("response_malformed", "xml_malformed", Outcome.SUCCESS),
            ("payout_not_enough", "notenough", Outcome.UNKNOWN),
            ("payout_failed", "send_failed", Outcome.FAILED),
        ],
    )
    def test_faults_are_unknown_and_the_same_number_tells(
        self,
        adapter: WechatLegacyAdapter,
        running: tuple[server.Handle, Path],
        fault: str,
        code: str,
        after: Outcome,
    ) -> None:
        number = f"LG{fault.replace('_', '')}"[:32]
        faults(running[0], {"fault": fault, "operation": "legacy_payout", "times": 1, "delay_seconds": 2})
        result = adapter.pay_out(request(number))
        assert (result.outcome, result.code) == (Outcome.UNKNOWN, code)
        assert adapter.query_payout(payout_no=number).outcome is after
        if after is not Outcome.FAILED:
            assert adapter.pay_out(request(number, is_first=False)).outcome is Outcome.SUCCESS
        assert books(running[0])[number] == ("FAILED" if after is Outcome.FAILED else "SUCCESS")

    def test_refused_for_good(self, adapter: WechatLegacyAdapter, running: tuple[server.Handle, Path]) -> None:
        faults(running[0], {"fault": "payout_refused", "times": 1})
        refused = adapter.pay_out(request("LGrefused"))
        assert (refused.outcome, refused.code) == (Outcome.FAILED, "openid_error")
        assert "LGrefused" not in books(running[0])

    def test_another_key_or_no_certificate_gets_nothing(
        self, running: tuple[server.Handle, Path], adapter: WechatLegacyAdapter, tmp_path: Path
    ) -> None:
        handle, directory = running
        for path in directory.glob("*.pem"):
            shutil.copy(path, tmp_path / path.name)
        data = json.loads((directory / "wechat_legacy.json").read_text())
        (tmp_path / "wechat_legacy.json").write_text(json.dumps({**data, "api_key": "x" * 32}))
        wrong = build(handle.legacy_url, tmp_path).pay_out(request("LGwrong", is_first=False))
        assert (wrong.outcome, wrong.code) == (Outcome.UNKNOWN, "sign_error")
        with pytest.raises(requests.RequestException):
            requests.post(
                f"{handle.legacy_url}/mmpaymkttransfers/promotion/transfers",
                data=b"<xml/>",
                verify=str(directory / "legacy_authority_certificate.pem"),
                timeout=5,
            )
        (tmp_path / "wechat_legacy.json").write_text(json.dumps({**data, "authority_file": ""}))
        distrusted = build(handle.legacy_url, tmp_path).pay_out(request("LGwrong"))
        assert (distrusted.outcome, distrusted.code) == (Outcome.UNKNOWN, "network_error")
        assert "LGwrong" not in books(handle)

    def test_it_stands_in_the_fund_flow_of_the_merchant(
        self, running: tuple[server.Handle, Path], adapter: WechatLegacyAdapter
    ) -> None:
        handle, directory = running
        assert adapter.pay_out(request("LGflow", amount_fen=77)).outcome is Outcome.SUCCESS
        requests.post(f"{handle.url}/_sim/clock", json={"bill_offset_seconds": 2 * 86_400}, timeout=5)
        wechat = WechatAdapter(
            WechatConfig(
                base_url=handle.url,
                credentials_file=str(directory / "credentials.json"),
                connect_timeout_seconds=1.0,
                read_timeout_seconds=2.0,
            )
        )
        today: dt.date = clock.now().astimezone(clock.BUSINESS_ZONE).date()
        bill = wechat.download_bill(day=today, kind=BillKind.FUND_FLOW)
        rows = wechat.read_bill(kind=BillKind.FUND_FLOW, content=bill.content).rows
        (row,) = [row for row in rows if row.number == "LGflow"]
        assert (row.kind, row.amount_fen, row.is_incoming) == (BillRowKind.PAYOUT, 77, False)


def test_what_it_can_do(adapter: WechatLegacyAdapter) -> None:
    assert isinstance(adapter, Payout)
    assert not isinstance(adapter, Prepay)
    with pytest.raises(ValueError, match="not a number WeChat takes"):
        adapter.pay_out(request("WD-1"))
    assert isinstance(adapter.query_payout(payout_no="LG0"), Result)


@pytest.mark.parametrize(
    "changes", [{"api_key": "short"}, {"sign_type": "SHA1"}, {"client_certificate_file": ""}, {"mchid": None}]
)
def test_unusable_credentials(running: tuple[server.Handle, Path], tmp_path: Path, changes: dict[str, Any]) -> None:
    _, directory = running
    for path in directory.glob("*.pem"):
        shutil.copy(path, tmp_path / path.name)
    data = {**json.loads((directory / "wechat_legacy.json").read_text()), **changes}
    if changes.get("mchid", "") is None:
        del data["mchid"]
    (tmp_path / "wechat_legacy.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="wechat_legacy"):
        build("https://127.0.0.1:1", tmp_path)
