"""The providers' side of development: what they do and believe, spoken in their real wire formats.

A program of its own (`python -m simulator`), never installed in production. It imports nothing of the platform and
nothing of Django; the platform reaches it only over HTTP, by the address in its settings. Tables: `books.sqlite3` in
its directory. Wire formats live in one package for each provider (`wechat/`, …), everything else is shared: `books`
(storage), `desk` (what paying, closing and refunding mean), `payouts`, `delivery` (notices), `faults`, `control`,
`pages`. Invariants: an order is paid and a payout made at most once, refunds never exceed what was paid, a restart
loses nothing.
"""
