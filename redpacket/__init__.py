"""Red packets (红包): normal ones to one employee, lucky ones (拼手气) to a group.

Owns: packets, their shares, claims, settlement batches, expiry. Called by the API, workers and jobs; calls payments
(purchase, settlement of shares, return of the rest) and identity (who is who).
Tables: RedPacket, Share, Settlement (database `redpacket`); Redis keys `rp:{id}:…` are a ticket dispenser, see cache.
Invariants: the shares sum to the total; a share has at most one receiver and a receiver at most one share; claimed +
rest = total when closed; a grab is acknowledged only after its claim is committed.
"""
