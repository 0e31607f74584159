"""`assert_books_balance`: what every money story ends in."""

from __future__ import annotations

from paysys import proofs


def assert_books_balance() -> None:
    """Every invariant of ledger, orders and red packets holds; the message names those that do not."""
    broken = [f"{line.name}: {line.detail}" for line in proofs.prove() if not line.ok]
    assert not broken, "\n".join(broken)
