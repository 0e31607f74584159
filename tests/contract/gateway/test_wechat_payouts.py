"""商家转账 through the adapter: what it sends, and what it makes of every kind of answer and notice."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from gateway.adapters.wechat import WechatAdapter, WechatConfig
from gateway.ports import NoticeInvalid, NoticeKind, Outcome, PayoutRequest, Result
from tests.contract.gateway.provider import (
    APPID,
    MCHID,
    REPORT,
    SCENE_ID,
    Provider,
    Reply,
    transfer_data,
    transfer_notice_data,
)

PAYOUT_NO = "WD100010001202611231000000010003"
BILL_NO = "1330000071100999991182020050700019480001"
NOW = dt.datetime(2026, 11, 23, 4, 0, 30, tzinfo=dt.UTC)
PATH = "/v3/fund-app/mch-transfer/transfer-bills"


def request(**changes: Any) -> PayoutRequest:
    return PayoutRequest(
        **{
            "payout_no": PAYOUT_NO,
            "amount_fen": 5000,
            "payee_account": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
            "payee_name": "",
            "remark": "提现",
            "notify_url": "https://example.com/notify/wechat",
            **changes,
        }
    )


def accepted(**changes: Any) -> dict[str, Any]:
    """What 发起转账 answers."""
    return {
        "out_bill_no": PAYOUT_NO,
        "transfer_bill_no": BILL_NO,
        "create_time": "2026-11-23T12:00:00+08:00",
        "state": "WAIT_USER_CONFIRM",
        "package_info": "affffddafdfafddffda==",
        **changes,
    }


def error(code: str, status: int = 400) -> Reply:
    return Reply(status=status, data={"code": code, "message": "不行"}, signature="none")


NOT_FOUND = error("NOT_FOUND", 404)


def said(result: Result) -> tuple[Outcome, str]:
    return result.outcome, result.code


class TestPayOut:
    def test_the_request_is_the_documented_one(self, adapter: WechatAdapter, provider: Provider) -> None:
        provider.reply = Reply(data=accepted())
        result = adapter.pay_out(request(amount_fen=200_000, payee_name="张三", remark="提\n现" * 20))
        assert said(result) == (Outcome.PENDING, "wait_user_confirm")
        assert result.provider_no == BILL_NO
        assert result.payment == {
            "kind": "confirm",
            "mchId": MCHID,
            "appId": APPID,
            "package": "affffddafdfafddffda==",
        }
        (seen,) = provider.seen
        assert (seen.method, seen.path) == ("POST", PATH)
        assert provider.request_is_signed_by_merchant(seen)
        sent = json.loads(seen.body)
        name = provider.platform_key.decrypt(
            base64.b64decode(sent.pop("user_name")),
            padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),
        )
        assert name.decode() == "张三"
        assert sent == {
            "appid": APPID,
            "out_bill_no": PAYOUT_NO,
            "transfer_scene_id": SCENE_ID,
            "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
            "transfer_amount": 200_000,
            "transfer_remark": ("提 现" * 20)[:32],
            "transfer_scene_report_infos": REPORT,
            "notify_url": "https://example.com/notify/wechat",
        }

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (accepted(state="ACCEPTED"), (Outcome.PENDING, "accepted")),
            (accepted(state="PROCESSING"), (Outcome.PENDING, "processing")),
            (accepted(state="TRANSFERING"), (Outcome.PENDING, "transfering")),
            (accepted(state="SUCCESS"), (Outcome.SUCCESS, "")),
            (accepted(state="FAIL", fail_reason="NAME_NOT_CORRECT"), (Outcome.FAILED, "name_not_correct")),
            (accepted(state="FAIL", fail_reason="OVERDUE_CLOSE"), (Outcome.FAILED, "expired")),
            (accepted(state="CANCELLED"), (Outcome.FAILED, "cancelled")),
            (accepted(state="MELTED"), (Outcome.UNKNOWN, "melted")),
            (accepted(state=None), (Outcome.UNKNOWN, "state_missing")),
            (accepted(out_bill_no="WD2"), (Outcome.UNKNOWN, "number_mismatch")),
            (accepted(transfer_bill_no="../x"), (Outcome.UNKNOWN, "transfer_bill_no_malformed")),
            ([], (Outcome.UNKNOWN, "json_malformed")),
        ],
    )
    def test_only_documented_states_decide(
        self, adapter: WechatAdapter, provider: Provider, answer: Any, expected: tuple[Outcome, str]
    ) -> None:
        provider.reply = Reply(data=answer)
        result = adapter.pay_out(request())
        assert said(result) == expected
        assert result.payment is None

    @pytest.mark.parametrize(
        ("reply", "code"),
        [
            (Reply(data=accepted(state="SUCCESS"), signature="wrong"), "answer_unverified"),
            (Reply(data=accepted(state="FAIL"), signature="none"), "call_failed"),
            (Reply(text='{"out_bill_no": "WD1000'), "json_malformed"),
            (Reply(data=accepted(), delay_seconds=1.0), "timeout"),
            (error("SYSTEM_ERROR", 500), "system_error"),
            (error("FREQUENCY_LIMITED", 429), "frequency_limited"),
            (error("NOT_ENOUGH", 403), "not_enough"),
            (error("A_CODE_OF_TOMORROW"), "a_code_of_tomorrow"),
            (Reply(status=502, text="<html>Bad gateway</html>"), "http_502"),
        ],
    )
    def test_whatever_is_not_certain_is_unknown_and_asks_nothing_more(
        self, adapter: WechatAdapter, provider: Provider, reply: Reply, code: str
    ) -> None:
        provider.reply = reply
        assert said(adapter.pay_out(request(is_first=True))) == (Outcome.UNKNOWN, code)
        assert len(provider.seen) == 1

    @pytest.mark.parametrize("code", ["PARAM_ERROR", "INVALID_REQUEST", "NO_AUTH", "SIGN_ERROR"])
    def test_the_first_request_refused_and_not_known_has_failed(
        self, adapter: WechatAdapter, provider: Provider, code: str
    ) -> None:
        provider.replies = [error(code), NOT_FOUND]
        assert said(adapter.pay_out(request(is_first=True))) == (Outcome.FAILED, code.lower())
        assert [seen.path for seen in provider.seen] == [PATH, f"{PATH}/out-bill-no/{PAYOUT_NO}"]

    def test_a_refusal_of_what_is_known_after_all_is_what_the_query_says(
        self, adapter: WechatAdapter, provider: Provider
    ) -> None:
        provider.replies = [error("PARAM_ERROR"), Reply(data=transfer_data())]
        result = adapter.pay_out(request(is_first=True))
        assert (result.outcome, result.amount_fen) == (Outcome.SUCCESS, 5000)
        provider.replies = [error("PARAM_ERROR"), error("SYSTEM_ERROR", 500)]
        assert said(adapter.pay_out(request(is_first=True))) == (Outcome.UNKNOWN, "system_error")

    def test_the_refusal_of_a_repeated_request_decides_nothing(
        self, adapter: WechatAdapter, provider: Provider
    ) -> None:
        provider.reply = error("PARAM_ERROR")
        assert said(adapter.pay_out(request())) == (Outcome.UNKNOWN, "param_error")
        assert len(provider.seen) == 1

    def test_what_the_contract_does_not_allow_is_not_sent(
        self, adapter: WechatAdapter, provider: Provider, tmp_path: Any
    ) -> None:
        nameless = request(amount_fen=200_000, payee_name="")
        assert said(adapter.pay_out(nameless)) == (Outcome.UNKNOWN, "payee_name_missing")
        for name in ("merchant.pem", "platform.pem"):
            (tmp_path / name).write_bytes((provider.directory / name).read_bytes())
        data = json.loads(provider.credentials_file.read_text(encoding="utf-8"))
        del data["transfer_scene_id"]
        (tmp_path / "credentials.json").write_text(json.dumps(data), encoding="utf-8")
        ungranted = WechatAdapter(
            WechatConfig(
                base_url=provider.url,
                credentials_file=str(tmp_path / "credentials.json"),
                connect_timeout_seconds=1.0,
                read_timeout_seconds=1.0,
            )
        )
        assert said(ungranted.pay_out(request(is_first=True))) == (Outcome.FAILED, "payouts_not_granted")
        assert provider.seen == []

    @pytest.mark.parametrize("number", ["", "W" * 33, "WD-1", "WD/1", "提现1"])
    def test_a_number_wechat_cannot_take_is_our_bug(
        self, adapter: WechatAdapter, provider: Provider, number: str
    ) -> None:
        with pytest.raises(ValueError, match="not a number WeChat takes"):
            adapter.pay_out(request(payout_no=number))
        assert provider.seen == []

    def test_no_name_or_account_is_printed(self) -> None:
        shown = repr(request(payee_name="张三"))
        assert "张三" not in shown
        assert "oUpF8uMuAJO" not in shown
        assert PAYOUT_NO in shown


class TestQueryAndCancel:
    def test_a_paid_transfer(self, adapter: WechatAdapter, provider: Provider) -> None:
        provider.reply = Reply(data=transfer_data())
        assert adapter.query_payout(payout_no=PAYOUT_NO) == Result(
            outcome=Outcome.SUCCESS,
            provider_no=BILL_NO,
            amount_fen=5000,
            happened_at=dt.datetime(2026, 11, 23, 4, 0, 9, tzinfo=dt.UTC),
        )
        (seen,) = provider.seen
        assert (seen.method, seen.path) == ("GET", f"{PATH}/out-bill-no/{PAYOUT_NO}")
        assert provider.request_is_signed_by_merchant(seen)

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"state": "WAIT_USER_CONFIRM"}, (Outcome.PENDING, "wait_user_confirm")),
            ({"state": "CANCELING"}, (Outcome.PENDING, "canceling")),
            ({"state": "CANCELLED"}, (Outcome.FAILED, "cancelled")),
            ({"state": "FAIL", "fail_reason": "RETURNED"}, (Outcome.FAILED, "returned")),
            ({"state": "FAIL"}, (Outcome.FAILED, "fail")),
            ({"mch_id": "1900000002"}, (Outcome.UNKNOWN, "merchant_mismatch")),
            ({"appid": "wxfffffffffffffff0"}, (Outcome.UNKNOWN, "merchant_mismatch")),
            ({"out_bill_no": "WD2"}, (Outcome.UNKNOWN, "number_mismatch")),
            ({"transfer_amount": "5000"}, (Outcome.UNKNOWN, "amount_malformed")),
            ({"transfer_amount": 0}, (Outcome.UNKNOWN, "amount_malformed")),
            ({"update_time": "2026-11-23 12:00"}, (Outcome.UNKNOWN, "time_malformed")),
        ],
    )
    def test_every_state_and_every_doubt(
        self, adapter: WechatAdapter, provider: Provider, changes: dict[str, Any], expected: tuple[Outcome, str]
    ) -> None:
        provider.reply = Reply(data=transfer_data(**changes))
        assert said(adapter.query_payout(payout_no=PAYOUT_NO)) == expected

    def test_an_unknown_number_is_not_a_failure(self, adapter: WechatAdapter, provider: Provider) -> None:
        provider.reply = NOT_FOUND
        assert said(adapter.query_payout(payout_no=PAYOUT_NO)) == (Outcome.UNKNOWN, "not_found")

    @pytest.mark.parametrize(
        ("reply", "expected"),
        [
            (Reply(data=accepted(state="CANCELING")), (Outcome.PENDING, "canceling")),
            (Reply(data=accepted(state="CANCELLED")), (Outcome.FAILED, "cancelled")),
            (Reply(data=accepted(state="SUCCESS")), (Outcome.SUCCESS, "")),
            (error("INVALID_REQUEST"), (Outcome.UNKNOWN, "invalid_request")),
            (NOT_FOUND, (Outcome.UNKNOWN, "not_found")),
            (Reply(data=accepted(state="CANCELLED"), signature="wrong"), (Outcome.UNKNOWN, "answer_unverified")),
        ],
    )
    def test_cancelling(
        self, adapter: WechatAdapter, provider: Provider, reply: Reply, expected: tuple[Outcome, str]
    ) -> None:
        provider.reply = reply
        assert said(adapter.cancel_payout(payout_no=PAYOUT_NO)) == expected
        (seen,) = provider.seen
        assert (seen.method, seen.path, seen.body) == ("POST", f"{PATH}/out-bill-no/{PAYOUT_NO}/cancel", b"")
        assert provider.request_is_signed_by_merchant(seen)


class TestNotices:
    EVENT = "MCHTRANSFER.BILL.FINISHED"

    def test_a_paid_transfer(self, adapter: WechatAdapter, provider: Provider) -> None:
        headers, body = provider.notice(
            transfer_notice_data(),
            event_type=self.EVENT,
            now=NOW,
            event_id="EV1",
            resource={"original_type": "mch_payment"},
        )
        fact = adapter.read_notice(headers=headers, body=body, now=NOW)
        assert (fact.event_id, fact.kind, fact.number) == ("EV1", NoticeKind.PAYOUT, PAYOUT_NO)
        assert fact.result == Result(
            outcome=Outcome.SUCCESS,
            provider_no=BILL_NO,
            amount_fen=5000,
            happened_at=dt.datetime(2026, 11, 23, 4, 0, 9, tzinfo=dt.UTC),
        )

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"mchid": "1900000002"}, "mchid_mismatch"),
            ({"state": "MELTED"}, "state_unknown"),
            ({"out_bill_no": "WD-1"}, "number_malformed"),
            ({"transfer_amount": 1.5}, "amount_malformed"),
            ({"transfer_bill_no": ""}, "transfer_bill_no_missing"),
        ],
    )
    def test_what_is_signed_and_wrong_is_refused_and_shown(
        self, adapter: WechatAdapter, provider: Provider, changes: dict[str, Any], reason: str
    ) -> None:
        headers, body = provider.notice(transfer_notice_data(**changes), event_type=self.EVENT, now=NOW)
        with pytest.raises(NoticeInvalid) as caught:
            adapter.read_notice(headers=headers, body=body, now=NOW)
        assert (caught.value.reason, caught.value.is_signed) == (reason, True)

    def test_a_failed_transfer_says_why(self, adapter: WechatAdapter, provider: Provider) -> None:
        data = transfer_notice_data(state="FAIL", fail_reason="OVERDUE_CLOSE")
        headers, body = provider.notice(data, event_type=self.EVENT, now=NOW)
        fact = adapter.read_notice(headers=headers, body=body, now=NOW)
        assert said(fact.result) == (Outcome.FAILED, "expired")
        assert fact.result.amount_fen == 5000
