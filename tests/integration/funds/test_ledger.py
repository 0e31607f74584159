"""The posting door on MariaDB: once, never negative, insert-only (test_ledger_model.py: and as a plain model says)."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connections, transaction
from django.test.utils import CaptureQueriesContext

from funds import proof, selectors
from funds.domain import movements
from funds.domain.entries import AccountRef, Bucket, Category, Entry, Line, platform_account
from funds.models import Account, Hold, Journal, Posting
from funds.services import ledger
from tests.integration.funds.moves import fresh, frozen, post, recharged, someone, wallet
from tests.worlds import NOW

pytestmark = pytest.mark.django_db(databases="__all__")


def test_posting_opens_the_account_and_moves() -> None:
    owner = someone()
    assert wallet(owner) == (0, 0)
    posted = recharged(owner, 100)
    assert posted.created
    assert wallet(owner) == (100, 0)
    assert Posting.objects.get(journal_id=posted.journal_id, amount_fen=100).balance_after_fen == 100
    assert Account.objects.get(owner_id=owner.owner_id).version == 1
    recharged(owner, 1)
    assert Account.objects.get(owner_id=owner.owner_id).version == 2


def test_two_debits_of_one_journal_are_both_covered_or_nothing_moves() -> None:
    """The second payer is short by 3 although the first one's balance would cover all of it."""
    rich, poor, receiver = someone(), someone(), someone()
    recharged(rich, 1000)
    recharged(poor, 7)
    lines = [(rich, -400, Category.CONSUMPTION), (poor, -10, Category.CONSUMPTION), (receiver, 410, Category.INCOME)]
    entry = Entry(
        kind="test_two_debits",
        reference=fresh(),
        lines=tuple(
            Line(account=account, bucket=Bucket.AVAILABLE, amount_fen=fen, category=category)
            for account, fen, category in lines
        ),
    )
    with pytest.raises(ledger.InsufficientFunds) as refused:
        post(entry)
    assert refused.value.details == {"missing_fen": 3}
    assert [wallet(person) for person in (rich, poor, receiver)] == [(1000, 0), (7, 0), (0, 0)]
    recharged(poor, 3)
    assert post(entry).created
    assert [wallet(person) for person in (rich, poor, receiver)] == [(600, 0), (0, 0), (410, 0)]


def test_a_remembered_account_of_a_rolled_back_transaction_is_not_believed() -> None:
    """An id read inside a transaction becomes known only when that has committed."""
    owner = someone()
    with pytest.raises(ZeroDivisionError), transaction.atomic(using="funds"):
        recharged(owner, 100)
        raise ZeroDivisionError
    assert owner.key not in ledger._known_accounts
    recharged(owner, 5)
    assert wallet(owner) == (5, 0)


def test_repeat_returns_the_first_and_moves_nothing() -> None:
    owner, number = someone(), fresh()
    first = recharged(owner, 100, number)
    again = recharged(owner, 100, number)
    assert (again.journal_id, again.created) == (first.journal_id, False)
    assert wallet(owner) == (100, 0)
    assert Posting.objects.filter(journal_id=first.journal_id).count() == 2


INSERT_JOURNAL = (
    "INSERT INTO funds_journal (kind, reference, order_no, source_no, actor, memo, created_at, "
    "debit_total_fen, credit_total_fen, posting_count) "
    "VALUES ('test', UUID(), '', '', 'test', '', NOW(), {})"
)
INSERT_POSTING = (
    "INSERT INTO funds_posting (journal_id, account_id, category, created_at, bucket, amount_fen) "
    "VALUES ({{journal}}, {{customer}}, 'INTERNAL', NOW(), {})"
)


def frozen_part(owner: AccountRef, key: str) -> int:
    """Freezes 2 fen under the key; returns the journal's id."""
    return frozen(owner, 2, key).journal_id


def everything() -> tuple[int, int, list[tuple[int, ...]], list[tuple[int, int, str]]]:
    """Row counts, balances and holds: what a refused movement must leave as it was."""
    return (
        Journal.objects.count(),
        Posting.objects.count(),
        list(Account.objects.order_by("id").values_list("id", "available_fen", "frozen_fen", "version")),
        list(Hold.objects.order_by("id").values_list("id", "remaining_fen", "state")),
    )


def test_second_channel_of_one_order_gets_the_first_journal() -> None:
    """Two attempts of one order succeed: the caller sees by `source_no` that his is not the effective one."""
    owner, order_no, first, second = someone(), fresh(), fresh("AT"), fresh("AT")
    by_first, by_second = (
        movements.recharge(order_no=order_no, attempt_no=attempt, channel=channel, owner=owner, amount_fen=100)
        for attempt, channel in ((first, "wechat"), (second, "alipay"))
    )
    post(by_first)
    before = everything()
    answer = post(by_second)
    assert (answer.created, answer.source_no) == (False, first)
    assert everything() == before
    assert wallet(owner) == (100, 0)


def test_recharge_into_a_hold_and_plain_recharge_of_one_order_exclude_each_other() -> None:
    owner, order_no, key = someone(), fresh(), fresh("k")
    recharged(owner, 100, order_no)
    entry = movements.recharge_into_hold(
        order_no=order_no, attempt_no=fresh(), channel="wechat", owner=owner, amount_fen=100, hold_key=key
    )
    assert not post(entry).created
    assert wallet(owner) == (100, 0)
    assert not Hold.objects.filter(key=key).exists()


@pytest.mark.parametrize(("amount_fen", "order_no"), [(101, None), (100, "another")])
def test_same_reference_with_another_amount_or_order_is_broken(amount_fen: int, order_no: str | None) -> None:
    owner, number, key = someone(), fresh(), fresh("k")
    recharged(owner, 100)
    frozen(owner, 100, key)
    post(movements.release_rest(reference=number, order_no=number, owner=owner, hold_key=key, amount_fen=100))
    before = everything()
    other = movements.release_rest(
        reference=number, order_no=order_no or number, owner=owner, hold_key=key, amount_fen=amount_fen
    )
    with pytest.raises(ledger.JournalConflict):
        post(other)
    assert everything() == before
    assert wallet(owner) == (100, 0)


def test_insufficient_funds_move_nothing() -> None:
    owner = someone()
    recharged(owner, 100)
    before = everything()
    with pytest.raises(ledger.InsufficientFunds) as refused:
        frozen(owner, 101, fresh("k"))
    assert (refused.value.code, refused.value.http_status) == ("insufficient_funds", 422)
    assert refused.value.details == {"missing_fen": 1}
    assert wallet(owner) == (100, 0)
    assert everything() == before


def test_one_poor_payer_of_several_refuses_the_whole_entry() -> None:
    rich, poor, payee = someone(), someone(), someone()
    recharged(rich, 100)
    recharged(poor, 10)
    before = everything()
    entry = Entry(
        kind="test_transfer",
        reference=fresh(),
        lines=tuple(
            Line(account=account, bucket=Bucket.AVAILABLE, amount_fen=amount, category=category)
            for account, amount, category in (
                (rich, -100, Category.CONSUMPTION),
                (poor, -11, Category.CONSUMPTION),
                (payee, 111, Category.INCOME),
            )
        ),
    )
    with pytest.raises(ledger.InsufficientFunds):
        post(entry)
    assert (wallet(rich), wallet(poor), wallet(payee)) == ((100, 0), (10, 0), (0, 0))
    assert everything() == before


def test_hold_key_serves_once() -> None:
    owner, key = someone(), fresh("k")
    recharged(owner, 100)
    frozen(owner, 10, key)
    before = everything()
    with pytest.raises(ledger.HoldConflict):
        frozen(owner, 10, key)
    assert wallet(owner) == (90, 10)
    assert everything() == before


def test_hold_of_somebody_else_is_not_open_for_me() -> None:
    owner, thief, key = someone(), someone(), fresh("k")
    recharged(owner, 100)
    frozen(owner, 100, key)
    recharged(thief, 100)
    frozen(thief, 100, fresh("k"))
    before = everything()
    with pytest.raises(ledger.HoldNotOpen):
        post(movements.release_rest(reference=fresh(), order_no="", owner=thief, hold_key=key, amount_fen=1))
    assert (wallet(owner), wallet(thief)) == ((0, 100), (0, 100))
    assert everything() == before


def test_a_hold_spent_to_the_last_fen_is_settled() -> None:
    owner, other, key = someone(), someone(), fresh("k")
    recharged(owner, 5)
    frozen(owner, 5, key)
    receivers = [movements.Receiver(account=other, amount_fen=5)]
    post(movements.settle_shares(reference=fresh(), order_no="", sender=owner, hold_key=key, receivers=receivers))
    hold = Hold.objects.get(key=key)
    assert (hold.state, hold.remaining_fen, hold.resolved_at) == ("SETTLED", 0, NOW)


def test_refund_through_the_channel_empties_transit() -> None:
    owner, order_no, key, refund_no, channel = someone(), fresh(), fresh("k"), fresh(), fresh("channel")
    transit, clearing = platform_account("2320", channel), platform_account("1110", channel)
    post(
        movements.recharge_into_hold(
            order_no=order_no, attempt_no=fresh(), channel=channel, owner=owner, amount_fen=9, hold_key=key
        )
    )
    assert wallet(owner) == (0, 9)
    post(
        movements.refund_from_hold(
            refund_no=refund_no, order_no=order_no, owner=owner, hold_key=key, amount_fen=9, channel=channel
        )
    )
    assert (wallet(owner), selectors.platform_balance_fen(account=transit)) == ((0, 0), 9)
    post(movements.refund_done(refund_no=refund_no, order_no=order_no, channel=channel, amount_fen=9))
    assert selectors.platform_balance_fen(account=transit) == 0
    assert selectors.platform_balance_fen(account=clearing) == 0
    kinds = [journal.kind for journal in selectors.list_journals(order_no=order_no)]
    assert kinds == ["recharge", "refund_start", "refund_done"]


def test_hold_is_spent_in_parts_and_resolved_once() -> None:
    owner, other, key = someone(), someone(), fresh("k")
    recharged(owner, 100)
    frozen(owner, 100, key)
    receivers = [movements.Receiver(account=other, amount_fen=40)]
    post(movements.settle_shares(reference=f"{key}1", order_no="", sender=owner, hold_key=key, receivers=receivers))
    assert Hold.objects.get(key=key).remaining_fen == 60
    post(movements.release_rest(reference=f"{key}r", order_no="", owner=owner, hold_key=key, amount_fen=60))
    hold = Hold.objects.get(key=key)
    assert (hold.state, hold.remaining_fen, hold.resolved_at) == ("RELEASED", 0, NOW)
    assert (wallet(owner), wallet(other)) == ((60, 0), (40, 0))
    with pytest.raises(ledger.HoldNotOpen):
        post(movements.release_rest(reference=f"{key}x", order_no="", owner=owner, hold_key=key, amount_fen=1))


def test_hold_is_not_spent_beyond_its_rest_even_when_the_account_has_more_frozen() -> None:
    owner, key, other_key = someone(), fresh("k"), fresh("k")
    recharged(owner, 100)
    frozen(owner, 50, key)
    frozen(owner, 50, other_key)
    with pytest.raises(ledger.HoldExceeded):
        post(movements.release_rest(reference=f"{key}r", order_no="", owner=owner, hold_key=key, amount_fen=51))
    assert wallet(owner) == (0, 100)


def test_post_outside_of_a_transaction_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections[ledger.alias()], "in_atomic_block", False)
    with pytest.raises(RuntimeError, match="must be open"):
        ledger.post(entry=movements.freeze(order_no="x", owner=someone(), amount_fen=1, hold_key="x"), now=NOW)


@pytest.mark.parametrize(
    ("constraint", "sql"),
    [
        ("account_available_not_negative", "UPDATE funds_account SET available_fen = -1 WHERE id = {customer}"),
        ("account_frozen_not_negative", "UPDATE funds_account SET frozen_fen = -1 WHERE id = {customer}"),
        ("account_platform_without_balance", "UPDATE funds_account SET available_fen = 5 WHERE id = {platform}"),
        ("hold_remaining_bounds", "UPDATE funds_hold SET remaining_fen = -1 WHERE id = {hold}"),
        ("hold_remaining_bounds", "UPDATE funds_hold SET remaining_fen = amount_fen + 1 WHERE id = {hold}"),
        ("hold_resolved_when_empty", "UPDATE funds_hold SET remaining_fen = 0 WHERE id = {hold}"),
        ("hold_resolved_when_empty", "UPDATE funds_hold SET state = 'RELEASED' WHERE id = {hold}"),
        ("journal_balanced", INSERT_JOURNAL.format("1, 2, 2")),
        ("journal_not_empty", INSERT_JOURNAL.format("0, 0, 2")),
        ("journal_two_lines", INSERT_JOURNAL.format("1, 1, 1")),
        ("posting_not_zero", INSERT_POSTING.format("'FROZEN', 0")),
        ("posting_once_per_bucket", INSERT_POSTING.format("'AVAILABLE', 1")),
    ],
)
def test_database_refuses_what_the_ledger_would_never_write(constraint: str, sql: str) -> None:
    owner, key = someone(), fresh("k")
    recharged(owner, 5)
    journal_id = frozen_part(owner, key)
    places = {
        "customer": Account.objects.get(owner_id=owner.owner_id).pk,
        "platform": Account.objects.get(owner_kind="PLATFORM", code="1110", owner_id="wechat").pk,
        "hold": Hold.objects.get(key=key).pk,
        "journal": journal_id,
    }
    before = everything()
    with (
        pytest.raises(DatabaseError, match=constraint),
        transaction.atomic(using="funds"),
        connections["funds"].cursor() as cursor,
    ):
        cursor.execute(sql.format(**places))
    assert everything() == before
    assert wallet(owner) == (3, 2)


@pytest.mark.parametrize("table", ["funds_journal", "funds_posting"])
@pytest.mark.parametrize("action", ["UPDATE {} SET created_at = created_at", "DELETE FROM {}"])
def test_database_refuses_to_change_or_delete_what_is_booked(table: str, action: str) -> None:
    recharged(someone(), 5)
    with (
        pytest.raises(DatabaseError, match="insert-only"),
        transaction.atomic(using="funds"),
        connections["funds"].cursor() as cursor,
    ):
        cursor.execute(action.format(table))


def test_platform_balance_is_the_sum_of_its_postings() -> None:
    clearing = platform_account("1110", "wechat")
    before = selectors.platform_balance_fen(account=clearing)
    recharged(someone(), 70)
    assert selectors.platform_balance_fen(account=clearing) == before - 70


def test_statement_pages_newest_first_without_gaps() -> None:
    owner = someone()
    for amount in (1, 2, 3, 4, 5):
        recharged(owner, amount)
    first = selectors.list_statement(account=owner, before=None, limit=2)
    second = selectors.list_statement(account=owner, before=first.next_before, limit=2)
    third = selectors.list_statement(account=owner, before=second.next_before, limit=2)
    pages = [[(row.amount_fen, row.balance_after_fen) for row in page.items] for page in (first, second, third)]
    assert pages == [[(5, 15), (4, 10)], [(3, 6), (2, 3)], [(1, 1)]]
    assert third.next_before is None
    assert selectors.list_statement(account=someone(), before=None, limit=2).items == ()


@pytest.mark.parametrize(
    ("sql", "lines"),
    [
        (
            "UPDATE funds_account SET available_fen = available_fen + 1 WHERE id = {customer}",
            {
                "customer balances equal their postings",
                "recharge + income - withdrawal - consumption = balance, per enterprise",
            },
        ),
        (
            "UPDATE funds_account SET available_fen = 0, frozen_fen = 5 WHERE id = {customer}",
            {"customer balances equal their postings", "frozen equals the open holds"},
        ),
        ("UPDATE funds_hold SET remaining_fen = 1 WHERE id = {hold}", {"frozen equals the open holds"}),
        (
            INSERT_POSTING.format("'AVAILABLE', 1").replace("INTERNAL", "INCOME").replace("{journal}", "{recharge}"),
            {
                "all postings sum to zero",
                "each journal sums to zero and has all its lines",
                "customer balances equal their postings",
                "balances after follow each other",
                "recharge + income - withdrawal - consumption = balance, per enterprise",
            },
        ),
        (
            INSERT_POSTING.format("'AVAILABLE', 1")
            .replace("amount_fen)", "amount_fen, balance_after_fen)")
            .replace("'AVAILABLE', 1", "'AVAILABLE', 1, 5")
            .replace("{journal}", "{recharge}"),
            {
                "all postings sum to zero",
                "each journal sums to zero and has all its lines",
                "customer balances equal their postings",
                "balances after follow each other",
            },
        ),
        (INSERT_JOURNAL.format("1, 1, 2"), {"each journal sums to zero and has all its lines"}),
        (
            INSERT_JOURNAL.format("1, 1, 3") + "; "
            "INSERT INTO funds_posting (journal_id, account_id, category, created_at, bucket, amount_fen) "
            "SELECT MAX(id), {platform}, 'PLATFORM', NOW(), 'AVAILABLE', 1 FROM funds_journal; "
            "INSERT INTO funds_posting (journal_id, account_id, category, created_at, bucket, amount_fen) "
            "SELECT MAX(id), {platform}, 'PLATFORM', NOW(), 'FROZEN', -1 FROM funds_journal",
            {"each journal sums to zero and has all its lines"},
        ),
        (
            "SET check_constraint_checks = 0; UPDATE funds_hold SET state = 'SETTLED' WHERE id = {hold}; "
            "SET check_constraint_checks = 1",
            {"holds are resolved exactly when they are empty"},
        ),
        (
            "SET check_constraint_checks = 0; "
            "UPDATE funds_account SET available_fen = -1, frozen_fen = 6 WHERE id = {customer}; "
            "SET check_constraint_checks = 1",
            {
                "customer balances equal their postings",
                "frozen equals the open holds",
                "no balance is negative",
            },
        ),
    ],
)
def test_proof_names_what_is_broken(sql: str, lines: set[str]) -> None:
    """Every planted fault is found by the lines that it breaks, and by no other."""
    owner, key = someone(), fresh("k")
    recharged(owner, 5)
    journal_id = frozen_part(owner, key)
    other = recharged(someone(), 1)
    assert [line.name for line in proof.prove() if not line.ok] == []
    places = {
        "customer": Account.objects.get(owner_id=owner.owner_id).pk,
        "platform": Account.objects.get(owner_kind="PLATFORM", code="1110", owner_id="wechat").pk,
        "hold": Hold.objects.get(key=key).pk,
        "journal": journal_id,
        "recharge": other.journal_id,
    }
    with connections["funds"].cursor() as cursor:
        for statement in sql.format(**places).split("; "):
            cursor.execute(statement)
    assert {line.name for line in proof.prove() if not line.ok} == lines


@pytest.mark.parametrize(("count", "statements"), [(1, [10, 7]), (200, [11, 8])])
def test_number_of_statements_does_not_grow_with_the_receivers(count: int, statements: list[int]) -> None:
    """Transaction 2, accounts 4 (find, first journal?, open, find), journal, hold, balances, postings: 10.

    Many lines read the balances by a statement of their own.
    With all accounts there, three fewer (here none is remembered: nothing commits). The transaction is a savepoint.
    """
    sender, key = someone(), fresh("k")
    recharged(sender, 2 * count)
    frozen(sender, 2 * count, key)
    accounts = [someone() for _ in range(count)]
    receivers = [movements.Receiver(account=account, amount_fen=1) for account in accounts]
    counted = []
    for batch in ("1", "2"):
        entry = movements.settle_shares(
            reference=key + batch, order_no="", sender=sender, hold_key=key, receivers=receivers
        )
        with CaptureQueriesContext(connections["funds"]) as queries:
            post(entry)
        counted.append(len(queries))
    assert counted == statements
    assert wallet(sender) == (0, 0)
    assert {wallet(account) for account in accounts} == {(2, 0)}
