"""One line of a proof of the books; each app proves its own invariants, paysys.proofs puts them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ProofLine:
    """One invariant: whether it holds, what breaks it (the first few rows), and its figures."""

    name: str
    ok: bool
    detail: str = ""
    figures: Mapping[str, int] = field(default_factory=dict)
