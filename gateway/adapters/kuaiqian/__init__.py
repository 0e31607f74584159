"""99bill (快钱): RMB gateway, pay to bank account, bank-card verification. Own client; the provider offers no SDK.

Source: design `providers.md` section 6, which rests on public code; no contract document was seen. What is unproven is
said where it is used. Modules: `signing` (k=v strings), `envelope` (sealed XML), `markup` (strict XML), `transport`
(HTTP), `credentials`, `values` (checked fields), `recharge`, `refunding`, `payouts`, `cards`, `notices`; `adapter` ties
them together. Invariants: nothing is SUCCESS or FAILED without a verified signature (cards: two-way TLS) over it, over
our number, with an amount in fen; everything else is UNKNOWN.
"""

from __future__ import annotations

from gateway.adapters.kuaiqian.adapter import KuaiqianAdapter
from gateway.adapters.kuaiqian.credentials import KuaiqianConfig

__all__ = ["KuaiqianAdapter", "KuaiqianConfig"]
