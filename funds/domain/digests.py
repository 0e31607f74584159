"""What makes a journal tamper-evident: a digest over all it says, and the chain of seals over the digests.

Source: design `accounts.md`, I11. The digest is SHA-256 and needs no secret; the seal is an HMAC whose key never lies
in the database, so that who can change rows still cannot make the chain fit again.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections.abc import Iterable

FIELD_END = "\x1f"
"""Stands between fields; it cannot occur in ASCII numbers and is escaped by none of the texts we store."""
GENESIS = "0" * 64
"""What the first seal follows."""


def journal_digest(
    *,
    kind: str,
    reference: str,
    order_no: str,
    source_no: str,
    actor: str,
    memo: str,
    created_at: dt.datetime,
    lines: Iterable[tuple[int, str, int, str]],
) -> str:
    """64 hex digits over a journal and its lines (account id, bucket, amount in fen, category), in any order."""
    moment = created_at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    head = [kind, reference, order_no, source_no, actor, str(len(memo)), memo, moment]
    body = [f"{account}:{bucket}:{amount}:{category}" for account, bucket, amount, category in sorted(lines)]
    return hashlib.sha256(FIELD_END.join(head + body).encode()).hexdigest()


def seal(*, key: bytes, previous: str, first_id: int, last_id: int, digests: Iterable[tuple[int, str]]) -> str:
    """64 hex digits that follow the seal `previous` over (journal id, digest) pairs in id order."""
    mac = hmac.new(key, f"{previous}{FIELD_END}{first_id}{FIELD_END}{last_id}".encode(), hashlib.sha256)
    for journal_id, digest in digests:
        mac.update(f"{FIELD_END}{journal_id}:{digest}".encode())
    return mac.hexdigest()
