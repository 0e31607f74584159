"""The provider's memory, in one SQLite file in WAL mode: orders, refunds, notices, fault rules, used nonces.

One connection, one lock: every group of statements runs in `transaction()`, which is re-entrant within a thread.
Amounts are integer fen, times seconds since 1970. `*_at` follow the simulator's clock; `*_real_at` the machine's.
States of an order: OPEN → PAID | CLOSED; of a refund: PROCESSING → SUCCESS | CLOSED | ABNORMAL; of a payout: WAITING
(for its payee) → PROCESSING → SUCCESS → RETURNED, or FAILED, or CANCELLING → CANCELLED; of a notice: DUE → DELIVERED |
GIVEN_UP, or WITHHELD. They move by conditional updates only.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    channel TEXT NOT NULL, attempt_no TEXT NOT NULL, code TEXT NOT NULL UNIQUE, subject TEXT NOT NULL,
    amount_fen INTEGER NOT NULL CHECK (amount_fen > 0), paid_fen INTEGER CHECK (paid_fen > 0),
    state TEXT NOT NULL CHECK (state IN ('OPEN', 'PAID', 'CLOSED')),
    notify_url TEXT NOT NULL, parameters TEXT NOT NULL, transaction_id TEXT UNIQUE, payer TEXT,
    created_at REAL NOT NULL, expires_at REAL NOT NULL, code_issued_at REAL NOT NULL, paid_at REAL,
    receiver TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (channel, attempt_no),
    CHECK ((state = 'PAID') = (paid_at IS NOT NULL AND paid_fen IS NOT NULL AND transaction_id IS NOT NULL))
);
CREATE INDEX IF NOT EXISTS orders_by_state ON orders (state, expires_at);
CREATE INDEX IF NOT EXISTS orders_by_day ON orders (coalesce(paid_at, created_at));
CREATE TABLE IF NOT EXISTS refunds (
    channel TEXT NOT NULL, refund_no TEXT NOT NULL, refund_id TEXT NOT NULL UNIQUE, attempt_no TEXT NOT NULL,
    amount_fen INTEGER NOT NULL CHECK (amount_fen > 0),
    state TEXT NOT NULL CHECK (state IN ('PROCESSING', 'SUCCESS', 'CLOSED', 'ABNORMAL')),
    outcome TEXT NOT NULL CHECK (outcome IN ('SUCCESS', 'CLOSED', 'ABNORMAL')),
    settle_real_at REAL NOT NULL, notify_url TEXT NOT NULL, parameters TEXT NOT NULL,
    created_at REAL NOT NULL, finished_at REAL,
    PRIMARY KEY (channel, refund_no),
    FOREIGN KEY (channel, attempt_no) REFERENCES orders (channel, attempt_no)
);
CREATE INDEX IF NOT EXISTS refunds_by_day ON refunds (created_at);
CREATE INDEX IF NOT EXISTS refunds_by_order ON refunds (channel, attempt_no);
CREATE INDEX IF NOT EXISTS refunds_by_state ON refunds (state, settle_real_at);
CREATE TABLE IF NOT EXISTS payouts (
    channel TEXT NOT NULL, payout_no TEXT NOT NULL, payout_id TEXT NOT NULL UNIQUE, code TEXT NOT NULL UNIQUE,
    amount_fen INTEGER NOT NULL CHECK (amount_fen > 0), account TEXT NOT NULL, name TEXT NOT NULL, remark TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('WAITING', 'PROCESSING', 'CANCELLING', 'SUCCESS', 'FAILED', 'CANCELLED', 'RETURNED')),
    outcome TEXT NOT NULL CHECK (outcome IN ('SUCCESS', 'FAILED', 'RETURNED')), reason TEXT NOT NULL,
    settle_real_at REAL NOT NULL, expires_at REAL NOT NULL, notify_url TEXT NOT NULL, parameters TEXT NOT NULL,
    created_at REAL NOT NULL, updated_at REAL NOT NULL, paid_at REAL, returned_at REAL,
    PRIMARY KEY (channel, payout_no),
    CHECK ((state IN ('SUCCESS', 'RETURNED')) = (paid_at IS NOT NULL)),
    CHECK ((state = 'RETURNED') = (returned_at IS NOT NULL))
);
CREATE INDEX IF NOT EXISTS payouts_by_state ON payouts (state, settle_real_at);
CREATE INDEX IF NOT EXISTS payouts_by_day ON payouts (created_at);
CREATE TABLE IF NOT EXISTS notices (
    row_id INTEGER PRIMARY KEY, notice_id TEXT NOT NULL, channel TEXT NOT NULL, attempt_no TEXT NOT NULL,
    refund_no TEXT NOT NULL, event TEXT NOT NULL, url TEXT NOT NULL, content TEXT NOT NULL, created_at REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('DUE', 'DELIVERED', 'GIVEN_UP', 'WITHHELD')),
    probes TEXT NOT NULL, is_overtakable INTEGER NOT NULL, due_real_at REAL NOT NULL, tries INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS notices_by_state ON notices (state, due_real_at);
CREATE INDEX IF NOT EXISTS notices_by_attempt ON notices (channel, attempt_no);
CREATE TABLE IF NOT EXISTS deliveries (
    row_id INTEGER PRIMARY KEY, notice_row_id INTEGER NOT NULL REFERENCES notices (row_id), mode TEXT NOT NULL,
    status INTEGER, body TEXT NOT NULL, sent_real_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS nonces (nonce TEXT PRIMARY KEY, used_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS nonces_by_time ON nonces (used_at);
CREATE TABLE IF NOT EXISTS fault_rules (
    position INTEGER PRIMARY KEY, rule TEXT NOT NULL, draws INTEGER NOT NULL, hits INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class BooksClosed(Exception):
    """The simulator is being stopped; nothing was written."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a merchant asked to be paid. `code` is what the person scans; `parameters` the merchant's own request.

    `receiver`: the sub-merchant whose account the money goes to, and in whose bills it stands; "" for our merchant's.
    """

    channel: str
    attempt_no: str
    code: str
    subject: str
    amount_fen: int
    paid_fen: int | None
    state: str
    notify_url: str
    parameters: Mapping[str, Any]
    transaction_id: str | None
    payer: str | None
    created_at: float
    expires_at: float
    code_issued_at: float
    paid_at: float | None
    receiver: str = ""


@dataclass(frozen=True, kw_only=True)
class Refund:
    """Money on its way back. `outcome`: what it becomes at `settle_real_at`. `notify_url` may be empty."""

    channel: str
    refund_no: str
    refund_id: str
    attempt_no: str
    amount_fen: int
    state: str
    outcome: str
    settle_real_at: float
    notify_url: str
    parameters: Mapping[str, Any]
    created_at: float
    finished_at: float | None


@dataclass(frozen=True, kw_only=True)
class Payout:
    """Money on its way to a person. `code` is what the person opens to confirm; `outcome` what becomes of it then.

    `reason` is the provider's word for a failure. `parameters`: the merchant's own request, decrypted. `updated_at`:
    when the state last moved; `expires_at`: when it fails for want of a confirmation. `settle_real_at`: when the
    scheduler moves it next. Paid money is out of the books from `paid_at` on, and back from `returned_at` on.
    """

    channel: str
    payout_no: str
    payout_id: str
    code: str
    amount_fen: int
    account: str
    name: str
    remark: str
    state: str
    outcome: str
    reason: str
    settle_real_at: float
    expires_at: float
    notify_url: str
    parameters: Mapping[str, Any]
    created_at: float
    updated_at: float
    paid_at: float | None
    returned_at: float | None


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A message to the merchant. `content` is what is inside of it, unsigned; `probes` go out before the first try.

    `attempt_no` is the payout's number for a payout. `refund_no` is empty for a payment or a payout. `is_overtakable`:
    waits until a later notice was delivered.
    """

    row_id: int
    notice_id: str
    channel: str
    attempt_no: str
    refund_no: str
    event: str
    url: str
    content: Mapping[str, Any]
    created_at: float
    state: str
    probes: tuple[str, ...]
    is_overtakable: bool
    due_real_at: float
    tries: int


@dataclass(frozen=True, kw_only=True)
class Movement:
    """A change of the merchant's account; `amount_fen` is negative when money leaves.

    `payment_id`: the provider's number of the refunded payment. `kind`: payment, refund, payout or payout_return.
    """

    kind: str
    number: str
    provider_no: str
    payment_id: str
    amount_fen: int
    moved_at: float


class Books:
    """See the module. Raises BooksClosed after `close()`."""

    def __init__(self, *, file: Path) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._connection: sqlite3.Connection | None = sqlite3.connect(
            file, isolation_level=None, check_same_thread=False, timeout=5.0
        )
        file.chmod(0o600)
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(SCHEMA)
        if "receiver" not in {row["name"] for row in self._connection.execute("PRAGMA table_info(orders)")}:
            self._connection.execute("ALTER TABLE orders ADD COLUMN receiver TEXT NOT NULL DEFAULT ''")

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; inside of another one of the same thread it is part of that one."""
        with self._lock:
            if self._depth:
                yield
                return
            self._execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
            except BaseException:
                self._execute("ROLLBACK")
                raise
            else:
                self._execute("COMMIT")
            finally:
                self._depth = 0

    def _execute(self, statement: str, values: Mapping[str, Any] | tuple[Any, ...] = ()) -> sqlite3.Cursor:
        if self._connection is None:
            raise BooksClosed
        return self._connection.execute(statement, values)

    def _rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._execute(statement, values).fetchall()

    # --- Orders -----------------------------------------------------------------------------------------------------

    def add_order(self, order: Order) -> None:
        """sqlite3.IntegrityError when the number or the code exists."""
        with self.transaction():
            self._execute(
                "INSERT INTO orders VALUES (:channel, :attempt_no, :code, :subject, :amount_fen, :paid_fen,"
                " :state, :notify_url, :parameters, :transaction_id, :payer, :created_at, :expires_at,"
                " :code_issued_at, :paid_at, :receiver)",
                {**vars(order), "parameters": _dump(order.parameters)},
            )

    def find_order(self, *, channel: str, attempt_no: str) -> Order | None:
        return self._one_order("channel = ? AND attempt_no = ?", (channel, attempt_no))

    def find_order_by_code(self, *, code: str) -> Order | None:
        return self._one_order("code = ?", (code,))

    def find_order_by_transaction(self, *, channel: str, transaction_id: str) -> Order | None:
        return self._one_order("channel = ? AND transaction_id = ?", (channel, transaction_id))

    def _one_order(self, where: str, values: tuple[Any, ...]) -> Order | None:
        rows = self._rows(f"SELECT * FROM orders WHERE {where}", values)  # noqa: S608
        return _order(rows[0]) if rows else None

    def list_orders(self, *, is_open: bool, limit: int) -> list[Order]:
        """Newest first."""
        where = "state = 'OPEN'" if is_open else "state <> 'OPEN'"
        statement = f"SELECT * FROM orders WHERE {where} ORDER BY created_at DESC, rowid DESC LIMIT ?"  # noqa: S608
        return [_order(row) for row in self._rows(statement, (limit,))]

    def list_orders_of(self, *, start: float, end: float) -> list[Order]:
        """Those paid in [start, end), and those not paid that were made in it; oldest first."""
        statement = (
            "SELECT * FROM orders WHERE coalesce(paid_at, created_at) >= ? AND coalesce(paid_at, created_at) < ?"
            " ORDER BY coalesce(paid_at, created_at), rowid"
        )
        return [_order(row) for row in self._rows(statement, (start, end))]

    def renew_code(self, *, order: Order, issued_at: float) -> None:
        with self.transaction():
            self._execute(
                "UPDATE orders SET code_issued_at = ? WHERE channel = ? AND attempt_no = ? AND state = 'OPEN'",
                (issued_at, order.channel, order.attempt_no),
            )

    def mark_scanned(self, *, order: Order, payer: str) -> None:
        """From now on the provider knows who will pay; some make their trade only then."""
        with self.transaction():
            self._execute(
                "UPDATE orders SET payer = ? WHERE channel = ? AND attempt_no = ? AND state = 'OPEN'",
                (payer, order.channel, order.attempt_no),
            )

    def mark_paid(self, *, order: Order, paid_fen: int, transaction_id: str, payer: str, paid_at: float) -> bool:
        """True for the one call that paid it."""
        with self.transaction():
            return bool(
                self._execute(
                    "UPDATE orders SET state = 'PAID', paid_fen = ?, transaction_id = ?, payer = ?, paid_at = ?"
                    " WHERE channel = ? AND attempt_no = ? AND state = 'OPEN'",
                    (paid_fen, transaction_id, payer, paid_at, order.channel, order.attempt_no),
                ).rowcount
            )

    def mark_closed(self, *, order: Order) -> bool:
        """True for the one call that closed it."""
        with self.transaction():
            return bool(
                self._execute(
                    "UPDATE orders SET state = 'CLOSED' WHERE channel = ? AND attempt_no = ? AND state = 'OPEN'",
                    (order.channel, order.attempt_no),
                ).rowcount
            )

    def close_expired(self, *, now: float) -> None:
        """For good: shifting the clock back does not open them again."""
        with self.transaction():
            self._execute("UPDATE orders SET state = 'CLOSED' WHERE state = 'OPEN' AND expires_at <= ?", (now,))

    # --- Refunds ----------------------------------------------------------------------------------------------------

    def add_refund(self, refund: Refund) -> None:
        """sqlite3.IntegrityError when the number exists."""
        with self.transaction():
            self._execute(
                "INSERT INTO refunds VALUES (:channel, :refund_no, :refund_id, :attempt_no, :amount_fen, :state,"
                " :outcome, :settle_real_at, :notify_url, :parameters, :created_at, :finished_at)",
                {**vars(refund), "parameters": _dump(refund.parameters)},
            )

    def find_refund(self, *, channel: str, refund_no: str) -> Refund | None:
        rows = self._rows("SELECT * FROM refunds WHERE channel = ? AND refund_no = ?", (channel, refund_no))
        return _refund(rows[0]) if rows else None

    def list_refunds(self, *, order: Order) -> list[Refund]:
        statement = "SELECT * FROM refunds WHERE channel = ? AND attempt_no = ? ORDER BY rowid"
        return [_refund(row) for row in self._rows(statement, (order.channel, order.attempt_no))]

    def list_refunds_of(self, *, start: float, end: float) -> list[Refund]:
        """Those asked for in [start, end), as providers' bills list them."""
        statement = "SELECT * FROM refunds WHERE created_at >= ? AND created_at < ? ORDER BY created_at, rowid"
        return [_refund(row) for row in self._rows(statement, (start, end))]

    def list_processing_refunds(self) -> list[Refund]:
        """Soonest first."""
        statement = "SELECT * FROM refunds WHERE state = 'PROCESSING' ORDER BY settle_real_at"
        return [_refund(row) for row in self._rows(statement)]

    def finish_refund(self, *, refund: Refund, finished_at: float) -> bool:
        """Moves it to its outcome; True for the one call that did."""
        with self.transaction():
            return bool(
                self._execute(
                    "UPDATE refunds SET state = outcome, finished_at = ?"
                    " WHERE channel = ? AND refund_no = ? AND state = 'PROCESSING'",
                    (finished_at, refund.channel, refund.refund_no),
                ).rowcount
            )

    # --- Payouts ----------------------------------------------------------------------------------------------------

    def add_payout(self, payout: Payout) -> None:
        """sqlite3.IntegrityError when the number or the code exists."""
        with self.transaction():
            names = ", ".join(f":{name}" for name in Payout.__dataclass_fields__)
            self._execute(
                f"INSERT INTO payouts ({', '.join(Payout.__dataclass_fields__)}) VALUES ({names})",  # noqa: S608
                {**vars(payout), "parameters": _dump(payout.parameters)},
            )

    def find_payout(self, *, channel: str, payout_no: str) -> Payout | None:
        rows = self._rows("SELECT * FROM payouts WHERE channel = ? AND payout_no = ?", (channel, payout_no))
        return _payout(rows[0]) if rows else None

    def find_payout_by_id(self, *, channel: str, payout_id: str) -> Payout | None:
        rows = self._rows("SELECT * FROM payouts WHERE channel = ? AND payout_id = ?", (channel, payout_id))
        return _payout(rows[0]) if rows else None

    def find_payout_by_code(self, *, code: str) -> Payout | None:
        rows = self._rows("SELECT * FROM payouts WHERE code = ?", (code,))
        return _payout(rows[0]) if rows else None

    def find_payouts(self, *, payout_no: str) -> list[Payout]:
        """Of any channel; two channels do not know of each other's numbers."""
        return [_payout(row) for row in self._rows("SELECT * FROM payouts WHERE payout_no = ?", (payout_no,))]

    def list_payouts(self, *, states: tuple[str, ...], limit: int) -> list[Payout]:
        """Newest first."""
        marks = ", ".join("?" * len(states))
        statement = f"SELECT * FROM payouts WHERE state IN ({marks}) ORDER BY created_at DESC, rowid DESC LIMIT ?"  # noqa: S608
        return [_payout(row) for row in self._rows(statement, (*states, limit))]

    def list_payouts_of(self, *, start: float, end: float) -> list[Payout]:
        """Those asked for in [start, end); oldest first."""
        statement = "SELECT * FROM payouts WHERE created_at >= ? AND created_at < ? ORDER BY created_at, rowid"
        return [_payout(row) for row in self._rows(statement, (start, end))]

    def list_unsettled_payouts(self) -> list[Payout]:
        """Those that the scheduler will move, soonest first: being processed or cancelled, and paid ones to return."""
        statement = (
            "SELECT * FROM payouts WHERE state IN ('PROCESSING', 'CANCELLING')"
            " OR (state = 'SUCCESS' AND outcome = 'RETURNED') ORDER BY settle_real_at"
        )
        return [_payout(row) for row in self._rows(statement)]

    def list_expired_payouts(self, *, now: float) -> list[Payout]:
        """Those that nobody confirmed in time."""
        statement = "SELECT * FROM payouts WHERE state = 'WAITING' AND expires_at <= ? ORDER BY expires_at"
        return [_payout(row) for row in self._rows(statement, (now,))]

    def move_payout(self, *, payout: Payout, changed: Payout) -> bool:
        """Writes state, outcome, reason, times of `changed`; True when the row still was in the state of `payout`."""
        with self.transaction():
            return bool(
                self._execute(
                    "UPDATE payouts SET state = ?, outcome = ?, reason = ?, settle_real_at = ?, updated_at = ?,"
                    " paid_at = ?, returned_at = ? WHERE channel = ? AND payout_no = ? AND state = ?",
                    (
                        *(changed.state, changed.outcome, changed.reason, changed.settle_real_at, changed.updated_at),
                        *(changed.paid_at, changed.returned_at, payout.channel, payout.payout_no, payout.state),
                    ),
                ).rowcount
            )

    # --- Movements of the merchant's account ------------------------------------------------------------------------

    def list_movements(self, *, channel: str, start: float, end: float) -> list[Movement]:
        """What moved the merchant's account in [start, end), oldest first."""
        statement = (
            "SELECT * FROM ("
            "SELECT 'payment' AS kind, attempt_no AS number, transaction_id AS provider_no, '' AS payment_id,"
            " paid_fen AS amount_fen, paid_at AS moved_at FROM orders"
            " WHERE channel = ? AND state = 'PAID' AND receiver = ''"
            " UNION ALL SELECT 'refund', refund_no, refund_id, o.transaction_id, -r.amount_fen, r.finished_at"
            " FROM refunds r JOIN orders o USING (channel, attempt_no) WHERE r.channel = ? AND r.state = 'SUCCESS'"
            " AND o.receiver = ''"
            " UNION ALL SELECT 'payout', payout_no, payout_id, '', -amount_fen, paid_at"
            " FROM payouts WHERE channel = ? AND paid_at IS NOT NULL"
            " UNION ALL SELECT 'payout_return', payout_no, payout_id, '', amount_fen, returned_at"
            " FROM payouts WHERE channel = ? AND returned_at IS NOT NULL"
            ") WHERE moved_at >= ? AND moved_at < ? ORDER BY moved_at, kind, number"
        )
        return [Movement(**dict(row)) for row in self._rows(statement, (*[channel] * 4, start, end))]

    def held_for_payouts_fen(self, *, channel: str) -> int:
        """What payouts under way have set aside."""
        statement = (
            "SELECT coalesce(sum(amount_fen), 0) FROM payouts"
            " WHERE channel = ? AND state IN ('WAITING', 'PROCESSING', 'CANCELLING')"
        )
        return int(self._rows(statement, (channel,))[0][0])

    # --- Notices ----------------------------------------------------------------------------------------------------

    def add_notice(self, notice: Notice) -> None:
        """`row_id` of the argument is not used."""
        with self.transaction():
            self._execute(
                "INSERT INTO notices VALUES (NULL, :notice_id, :channel, :attempt_no, :refund_no, :event, :url,"
                " :content, :created_at, :state, :probes, :is_overtakable, :due_real_at, :tries)",
                {**vars(notice), "content": _dump(notice.content), "probes": json.dumps(notice.probes)},
            )

    def find_notice(self, *, attempt_no: str, refund_no: str) -> Notice | None:
        """The last one about the payment, or about the refund of it."""
        rows = self._rows(
            "SELECT * FROM notices WHERE attempt_no = ? AND refund_no = ? ORDER BY row_id DESC LIMIT 1",
            (attempt_no, refund_no),
        )
        return _notice(rows[0]) if rows else None

    def list_due_notices(self, *, limit: int) -> list[Notice]:
        """Soonest first; those of the future too."""
        statement = "SELECT * FROM notices WHERE state = 'DUE' ORDER BY due_real_at, row_id LIMIT ?"
        return [_notice(row) for row in self._rows(statement, (limit,))]

    def has_overtakable_notice(self) -> bool:
        return bool(self._rows("SELECT 1 FROM notices WHERE state = 'DUE' AND is_overtakable LIMIT 1"))

    def release_overtaken(self, *, row_id: int, real_now: float) -> None:
        """Those that waited for a later notice, which is `row_id`, are due now."""
        with self.transaction():
            self._execute(
                "UPDATE notices SET due_real_at = ?, is_overtakable = 0"
                " WHERE state = 'DUE' AND is_overtakable AND row_id < ?",
                (real_now, row_id),
            )

    def record_try(self, *, notice: Notice, state: str, due_real_at: float) -> None:
        with self.transaction():
            self._execute(
                "UPDATE notices SET state = ?, due_real_at = ?, is_overtakable = 0, tries = tries + 1"
                " WHERE row_id = ? AND state = 'DUE'",
                (state, due_real_at, notice.row_id),
            )

    def record_delivery(self, *, notice: Notice, mode: str, status: int | None, body: str, sent_real_at: float) -> None:
        with self.transaction():
            self._execute(
                "INSERT INTO deliveries VALUES (NULL, ?, ?, ?, ?, ?)",
                (notice.row_id, mode, status, body, sent_real_at),
            )

    # --- Nonces, faults, settings -----------------------------------------------------------------------------------

    def use_nonce(self, *, nonce: str, now: float, ttl_seconds: float) -> bool:
        """False when it was used before; those older than `ttl_seconds` are forgotten."""
        with self.transaction():
            self._execute("DELETE FROM nonces WHERE used_at < ?", (now - ttl_seconds,))
            return bool(self._execute("INSERT OR IGNORE INTO nonces VALUES (?, ?)", (nonce, now)).rowcount)

    def replace_fault_rules(self, *, rules: list[str]) -> None:
        with self.transaction():
            self._execute("DELETE FROM fault_rules")
            for position, rule in enumerate(rules):
                self._execute("INSERT INTO fault_rules VALUES (?, ?, 0, 0)", (position, rule))

    def list_fault_rules(self) -> list[tuple[str, int, int]]:
        """(rule, draws, hits) by position."""
        return [tuple(row) for row in self._rows("SELECT rule, draws, hits FROM fault_rules ORDER BY position")]

    def count_draw(self, *, position: int, is_hit: bool) -> None:
        with self.transaction():
            self._execute(
                "UPDATE fault_rules SET draws = draws + 1, hits = hits + ? WHERE position = ?",
                (int(is_hit), position),
            )

    def read_setting(self, name: str) -> Any:
        """The stored value, or None."""
        rows = self._rows("SELECT value FROM settings WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def write_setting(self, name: str, value: Any) -> None:
        with self.transaction():
            self._execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))


def _dump(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True)


def _order(row: sqlite3.Row) -> Order:
    return Order(**{**dict(row), "parameters": json.loads(row["parameters"])})


def _refund(row: sqlite3.Row) -> Refund:
    return Refund(**{**dict(row), "parameters": json.loads(row["parameters"])})


def _payout(row: sqlite3.Row) -> Payout:
    return Payout(**{**dict(row), "parameters": json.loads(row["parameters"])})


def _notice(row: sqlite3.Row) -> Notice:
    return Notice(
        **{
            **dict(row),
            "content": json.loads(row["content"]),
            "probes": tuple(json.loads(row["probes"])),
            "is_overtakable": bool(row["is_overtakable"]),
        }
    )
