"""Receipt of notices on the real database: raw first, one verified row per event, refusals kept with their reason."""

from __future__ import annotations

import datetime as dt
import secrets
import threading
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from foundation.models import Alert
from gateway import registry
from gateway.adapters.wechat import WechatAdapter
from gateway.models import Notice
from gateway.ports import NoticeFact, NoticeInvalid, NoticeKind, Outcome
from gateway.services import notices
from gateway.services.notices import NoticeRefused, NoticeStateWrong, NoticeTooLarge, ReceivedNotice
from tests.contract.gateway.provider import Provider, refund_notice_data, transaction_data

NOW = dt.datetime(2026, 11, 23, 2, 0, 10, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(seconds=15)

Message = tuple[dict[str, str], bytes]


@pytest.fixture
def nothing_before(db: None) -> None:
    """Hides what tests with real commits left behind; the deletion is rolled back with the test."""
    Notice.objects.all().delete()
    Alert.objects.all().delete()


def fresh_event() -> str:
    return secrets.token_hex(16)


def receive(message: Message, *, now: dt.datetime = NOW) -> ReceivedNotice:
    headers, body = message
    return notices.receive_notice(
        channel="wechat", method="POST", path="/notify/wechat", headers=headers, body=body, now=now
    )


def refused(message: Message, *, now: dt.datetime = NOW) -> Notice:
    """The stored row of a notice that must be refused."""
    with pytest.raises(NoticeRefused) as caught:
        receive(message, now=now)
    assert (caught.value.code, caught.value.http_status, caught.value.details) == ("notice_refused", 401, {})
    return Notice.objects.get(body=message[1])


def states() -> list[tuple[str, int]]:
    return list(Notice.objects.order_by("id").values_list("state", "times_received"))


@pytest.mark.django_db(databases="__all__")
@pytest.mark.usefixtures("nothing_before")
class TestReceipt:
    def test_a_good_notice_is_stored_verified_and_handed_out(self, provider: Provider) -> None:
        headers, body = provider.notice(transaction_data(), event_id="EV-GOOD", now=NOW)
        received = receive(({**headers, "Cookie": "secret", "User-Agent": "Mozilla/4.0"}, body))
        assert received.already_processed is False
        assert (received.fact.kind, received.fact.number) == (NoticeKind.PAYMENT, "RC100010001202611231000000010001")
        assert (received.fact.result.outcome, received.fact.result.amount_fen) == (Outcome.SUCCESS, 8888)
        row = Notice.objects.get()
        assert (row.pk, row.state, row.event_key, row.number, row.kind) == (
            received.notice_id,
            "VERIFIED",
            "wechat:EV-GOOD",
            "RC100010001202611231000000010001",
            "PAYMENT",
        )
        assert (row.channel, row.method, row.path, row.times_received) == ("wechat", "POST", "/notify/wechat", 1)
        assert (row.received_at, row.processed_at, row.note) == (NOW, None, "")
        assert bytes(row.body) == body
        assert row.headers["wechatpay-signature"] == headers["Wechatpay-Signature"]
        assert row.headers["user-agent"] == "Mozilla/4.0"
        assert "cookie" not in row.headers

    def test_the_raw_bytes_are_there_before_anything_is_verified(
        self, provider: Provider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        message = provider.notice(transaction_data(), now=NOW)
        seen: list[tuple[str, bytes]] = []

        def look(self: Any, *, headers: Any, body: bytes, now: Any) -> NoticeFact:
            seen.extend((row.state, bytes(row.body)) for row in Notice.objects.all())
            raise NoticeInvalid("looked")

        monkeypatch.setattr(WechatAdapter, "read_notice", look)
        refused(message)
        assert seen == [("RECEIVED", message[1])]

    def test_a_crash_during_verification_leaves_the_raw_notice(
        self, provider: Provider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        message = provider.notice(transaction_data(), now=NOW)

        def crash(self: Any, **_: Any) -> NoticeFact:
            raise SystemExit

        with monkeypatch.context() as patch:
            patch.setattr(WechatAdapter, "read_notice", crash)
            with pytest.raises(SystemExit):
                receive(message)
        assert states() == [("RECEIVED", 1)]
        assert receive(message).already_processed is False
        assert states() == [("VERIFIED", 2)]

    def test_the_same_bytes_again_are_counted_not_stored_again(self, provider: Provider) -> None:
        message = provider.notice(transaction_data(), now=NOW)
        first = receive(message)
        again = receive(message, now=LATER)
        assert (again.notice_id, again.fact, again.already_processed) == (first.notice_id, first.fact, False)
        row = Notice.objects.get()
        assert (row.state, row.times_received, row.received_at, row.last_received_at) == ("VERIFIED", 2, NOW, LATER)

    def test_one_changed_byte_is_another_row(self, provider: Provider) -> None:
        headers, body = provider.notice(transaction_data(), now=NOW)
        receive((headers, body))
        refused((headers, body + b" "))
        assert states() == [("VERIFIED", 1), ("REFUSED", 1)]

    def test_hostile_request_parts_are_stored_harmlessly(self, provider: Provider) -> None:
        headers, body = provider.notice(transaction_data(), now=NOW)
        odd = {**headers, "User-Agent": "\x00é" + "x" * 5000, "Wechatpay-Nonce": "签名\x00" + "n" * 3000}
        with pytest.raises(NoticeRefused):
            notices.receive_notice(
                channel="wechat",
                method="ПОСТ-LONG-METHOD",
                path="/notify/" + "路" * 600,
                headers=odd,
                body=body,
                now=NOW,
            )
        row = Notice.objects.get()
        assert (row.state, row.note, row.method, len(row.path)) == ("REFUSED", "signature_invalid", "????-LON", 255)
        assert len(row.headers["user-agent"]) == 1024


@pytest.mark.django_db(databases="__all__")
@pytest.mark.usefixtures("nothing_before")
class TestRefusals:
    def test_each_refusal_is_kept_with_its_reason_and_claims_no_event(self, provider: Provider) -> None:
        event = fresh_event()

        def made(**changes: Any) -> Message:
            return provider.notice(transaction_data(), event_id=event, now=NOW, **changes)

        forged = made(key=provider.merchant_key)
        stale = provider.notice(transaction_data(), event_id=event, now=NOW - dt.timedelta(seconds=300))
        headers, body = made()
        truncated = (headers, body[:-10])
        tampered_headers, tampered_body = made()
        probe_headers, probe_body = made()
        serial_headers, serial_body = made()
        missing_headers, missing_body = made()
        cases = [
            (forged, "signature_invalid"),
            (stale, "stale"),
            (truncated, "signature_invalid"),
            ((tampered_headers, tampered_body.replace(b"transaction", b"transactiom")), "signature_invalid"),
            (
                ({**probe_headers, "Wechatpay-Signature": "WECHATPAY/SIGNTEST/" + "A" * 300}, probe_body),
                "signature_probe",
            ),
            (({**serial_headers, "Wechatpay-Serial": "PUB_KEY_ID_1"}, serial_body), "serial_unknown"),
            (({k: v for k, v in missing_headers.items() if "Serial" not in k}, missing_body), "headers_missing"),
        ]
        for message, reason in cases:
            row = refused(message)
            assert (row.state, row.note, row.event_key, row.number) == ("REFUSED", reason, None, "")
        assert Notice.objects.count() == len(cases)
        assert not Alert.objects.exists(), "anybody can send forgeries: they must not call staff"
        assert receive(made()).already_processed is False, "a forgery must not have taken the event"

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"mchid": "1900000002"}, "mchid_mismatch"),
            ({"appid": "wxffffffffffffffff"}, "appid_mismatch"),
            ({"amount": {"total": 8888, "currency": "USD"}}, "currency_mismatch"),
        ],
    )
    def test_a_rightly_signed_notice_not_meant_for_us_is_refused_and_alerted(
        self, provider: Provider, changes: dict[str, Any], reason: str
    ) -> None:
        row = refused(provider.notice(transaction_data(**changes), now=NOW))
        assert (row.state, row.note, row.event_key) == ("REFUSED", reason, None)
        alert = Alert.objects.get()
        assert (alert.code, alert.subject, alert.times) == ("notice_signed_but_refused", f"wechat:{reason}", 1)
        assert alert.context["notice_id"] == row.pk

    def test_a_body_over_64_kib_is_not_stored(self, provider: Provider) -> None:
        headers, _ = provider.notice(transaction_data(), now=NOW)
        with pytest.raises(NoticeTooLarge) as caught:
            receive((headers, b"x" * (64 * 1024 + 1)))
        assert (caught.value.code, caught.value.http_status) == ("notice_too_large", 413)
        assert Notice.objects.count() == 0
        refused((headers, b"x" * (64 * 1024)))
        assert states() == [("REFUSED", 1)]

    def test_an_unknown_channel_stores_nothing_and_an_unconfigured_one_keeps_the_notice(
        self, provider: Provider
    ) -> None:
        headers, body = provider.notice(transaction_data(), now=NOW)
        with pytest.raises(registry.ChannelUnavailable):
            notices.receive_notice(channel="paypal", method="POST", path="/", headers=headers, body=body, now=NOW)
        assert Notice.objects.count() == 0
        unconfigured = {"base_url": "", "credentials_file": ""}
        with override_settings(WECHAT=unconfigured), pytest.raises(registry.ChannelUnavailable):
            receive((headers, body))
        row = Notice.objects.get()
        assert (row.state, row.note) == ("REFUSED", "channel is not set up")

    def test_bytes_refused_once_are_judged_anew(self, provider: Provider) -> None:
        message = provider.notice(transaction_data(), now=NOW)
        refused(message, now=NOW - dt.timedelta(seconds=301))
        assert receive(message).already_processed is False
        assert states() == [("VERIFIED", 2)]


@pytest.mark.django_db(databases="__all__")
@pytest.mark.usefixtures("nothing_before")
class TestRepeats:
    def test_a_delivery_after_processing_needs_only_the_answer(self, provider: Provider) -> None:
        event = fresh_event()
        first = receive(provider.notice(transaction_data(), event_id=event, now=NOW))
        notices.finish_notice(notice_id=first.notice_id, state="PROCESSED", note="payment EFFECTIVE", now=NOW)
        again = receive(provider.notice(transaction_data(), event_id=event, now=LATER), now=LATER)
        assert (again.notice_id, again.already_processed, again.fact.number) == (
            first.notice_id,
            True,
            first.fact.number,
        )
        assert states() == [("PROCESSED", 1), ("DUPLICATE", 1)]
        duplicate = Notice.objects.get(state="DUPLICATE")
        assert (duplicate.event_key, duplicate.number) == (None, "RC100010001202611231000000010001")
        assert duplicate.note == f"same event as notice {first.notice_id}"
        assert receive(provider.notice(transaction_data(), event_id=event, now=LATER), now=LATER).already_processed

    @pytest.mark.parametrize("ended", [None, "FAILED"])
    def test_a_delivery_after_a_crash_or_failure_goes_on(self, provider: Provider, ended: str | None) -> None:
        event = fresh_event()
        first = receive(provider.notice(transaction_data(), event_id=event, now=NOW))
        if ended:
            notices.finish_notice(notice_id=first.notice_id, state=ended, note="unknown number", now=NOW)
        again = receive(provider.notice(transaction_data(), event_id=event, now=LATER), now=LATER)
        assert (again.notice_id, again.already_processed) == (first.notice_id, False)
        notices.finish_notice(notice_id=again.notice_id, state="PROCESSED", note="booked", now=LATER)
        row = Notice.objects.get(pk=first.notice_id)
        assert (row.state, row.note, row.processed_at) == ("PROCESSED", "booked", LATER)
        assert states() == [("PROCESSED", 1), ("DUPLICATE", 1)]

    def test_old_bytes_replayed_do_not_undo_a_processed_notice(self, provider: Provider) -> None:
        message = provider.notice(transaction_data(), now=NOW)
        first = receive(message)
        notices.finish_notice(notice_id=first.notice_id, state="PROCESSED", note="booked", now=NOW)
        with pytest.raises(NoticeRefused):
            receive(message, now=NOW + dt.timedelta(seconds=300))
        row = Notice.objects.get()
        assert (row.state, row.note, row.times_received) == ("PROCESSED", "booked", 2)

    @pytest.mark.parametrize(
        "changes",
        [
            {"amount": {"total": 9999, "currency": "CNY"}},
            {"out_trade_no": "RC100010001202611231000000019999"},
            {"transaction_id": "4200009999202611231234567890"},
        ],
    )
    def test_the_same_event_with_other_content_is_quarantined(
        self, provider: Provider, changes: dict[str, Any]
    ) -> None:
        event = fresh_event()
        first = receive(provider.notice(transaction_data(), event_id=event, now=NOW))
        row = refused(provider.notice(transaction_data(**changes), event_id=event, now=NOW))
        assert (row.state, row.note, row.event_key) == ("REFUSED", "event_repeated_with_other_content", None)
        kept = Notice.objects.get(pk=first.notice_id)
        assert (kept.state, kept.event_key) == ("VERIFIED", f"wechat:{event}")
        assert Alert.objects.get().subject == "wechat:event_repeated_with_other_content"

    def test_a_failed_notice_does_not_bar_the_genuine_one(self, provider: Provider) -> None:
        event = fresh_event()
        wrong = transaction_data(amount={"total": 8889, "currency": "CNY"})
        first = receive(provider.notice(wrong, event_id=event, now=NOW))
        notices.finish_notice(notice_id=first.notice_id, state="FAILED", note="amount mismatch", now=NOW)
        genuine = receive(provider.notice(transaction_data(), event_id=event, now=NOW))
        assert (genuine.already_processed, genuine.fact.result.amount_fen) == (False, 8888)
        assert genuine.notice_id != first.notice_id
        assert list(Notice.objects.order_by("id").values_list("state", "event_key", "note")) == [
            ("FAILED", None, "amount mismatch"),
            ("VERIFIED", f"wechat:{event}", ""),
        ]
        refused(provider.notice(wrong, event_id=event, now=LATER), now=LATER)
        notices.finish_notice(notice_id=genuine.notice_id, state="PROCESSED", note="booked", now=NOW)
        assert receive(provider.notice(transaction_data(), event_id=event, now=NOW)).already_processed is True

    def test_two_events_of_one_number_are_two_notices(self, provider: Provider) -> None:
        first = receive(provider.notice(transaction_data(), now=NOW))
        second = receive(provider.notice(refund_notice_data(), event_type="REFUND.SUCCESS", now=NOW))
        assert first.notice_id != second.notice_id
        assert states() == [("VERIFIED", 1), ("VERIFIED", 1)]


@pytest.mark.django_db(databases="__all__")
@pytest.mark.usefixtures("nothing_before")
class TestFinishing:
    def test_processed_is_for_ever(self, provider: Provider) -> None:
        received = receive(provider.notice(transaction_data(), now=NOW))
        for state, note in (("FAILED", "first try"), ("PROCESSED", "booked"), ("FAILED", "late"), ("PROCESSED", "x")):
            notices.finish_notice(notice_id=received.notice_id, state=state, note=note, now=NOW)
        row = Notice.objects.get()
        assert (row.state, row.note) == ("PROCESSED", "booked")

    def test_a_refused_notice_cannot_be_finished(self, provider: Provider) -> None:
        row = refused(provider.notice(transaction_data(), now=NOW, key=provider.merchant_key))
        with pytest.raises(NoticeStateWrong):
            notices.finish_notice(notice_id=row.pk, state="PROCESSED", note="", now=NOW)
        assert states() == [("REFUSED", 1)]

    @pytest.mark.parametrize("state", ["RECEIVED", "VERIFIED", "REFUSED", "DUPLICATE", "processed", ""])
    def test_only_the_two_ends_are_ends(self, provider: Provider, state: str) -> None:
        received = receive(provider.notice(transaction_data(), now=NOW))
        with pytest.raises(ValueError, match="not an end"):
            notices.finish_notice(notice_id=received.notice_id, state=state, note="", now=NOW)
        assert states() == [("VERIFIED", 1)]

    def test_the_answers_need_no_credentials(self) -> None:
        with override_settings(WECHAT={"base_url": "", "credentials_file": ""}):
            assert notices.success_answer("wechat").status == 204
            assert notices.failure_answer("wechat", "busy").body == b'{"code": "FAIL", "message": "busy"}'


def deliver_at_once(messages: list[Message]) -> list[ReceivedNotice | Exception]:
    """Each message in its own thread and connection, started together."""
    barrier = threading.Barrier(len(messages))
    results: list[ReceivedNotice | Exception] = []

    def deliver(message: Message) -> None:
        try:
            barrier.wait(timeout=10)
            results.append(receive(message))
        except Exception as error:  # the assertion below shows it
            results.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=deliver, args=(message,)) for message in messages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return results


@pytest.mark.usefixtures("committed_db")
class TestConcurrency:
    ROUNDS = 10

    def test_one_event_delivered_at_the_same_moment_is_verified_once(self, provider: Provider) -> None:
        for _ in range(self.ROUNDS):
            event = fresh_event()
            attempt_no = f"RC{secrets.token_hex(15)}"
            data = transaction_data(out_trade_no=attempt_no)
            messages = [provider.notice(data, event_id=event, now=NOW) for _ in range(4)]
            results = deliver_at_once(messages)
            assert [type(result) for result in results] == [ReceivedNotice] * 4, results
            (holder,) = Notice.objects.filter(event_key=f"wechat:{event}")
            assert {result.notice_id for result in results if isinstance(result, ReceivedNotice)} == {holder.pk}
            found = sorted(Notice.objects.filter(number=attempt_no).values_list("state", flat=True))
            assert found == ["DUPLICATE", "DUPLICATE", "DUPLICATE", "VERIFIED"]
            for result in results:
                assert isinstance(result, ReceivedNotice)
                notices.finish_notice(notice_id=result.notice_id, state="PROCESSED", note="booked", now=NOW)
            found = sorted(Notice.objects.filter(number=attempt_no).values_list("state", flat=True))
            assert found == ["DUPLICATE", "DUPLICATE", "DUPLICATE", "PROCESSED"]

    def test_the_same_bytes_at_the_same_moment_are_one_row(self, provider: Provider) -> None:
        for _ in range(self.ROUNDS):
            attempt_no = f"RC{secrets.token_hex(15)}"
            message = provider.notice(transaction_data(out_trade_no=attempt_no), now=NOW)
            results = deliver_at_once([message] * 4)
            assert [type(result) for result in results] == [ReceivedNotice] * 4, results
            row = Notice.objects.get(number=attempt_no)
            assert (row.state, row.times_received) == ("VERIFIED", 4)

    def test_the_raw_notice_outlives_the_refusal(self, provider: Provider) -> None:
        """Committed, not only written: another connection sees it while the first is still inside."""
        message = provider.notice(transaction_data(), now=NOW, key=provider.merchant_key)
        with pytest.raises(NoticeRefused):
            receive(message)
        connections["default"].close()
        row = Notice.objects.get(body=message[1])
        assert (row.state, row.note) == ("REFUSED", "signature_invalid")
