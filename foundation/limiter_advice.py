"""What a limiter's measurements say about its size: Little's law over a sliding window. Pure.

Little: mean concurrency = throughput x mean time of a request. Concurrency and throughput are measured, so each piece
of the window gives the time of a request at that moment. The shortest one that is no accident is what a request takes
when nobody is in its way; the largest throughput times that is the *knee*: the concurrency that would have been enough
for it. Whatever was above it waited for a processor, a lock or a database, and did not get out sooner.

Source: the second requirements text, questions (限流阈值一般是通过滑动窗口估算: 100 at a time, 10 ms each).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

from foundation.limiter import Second

PIECE_SECONDS = 5
"""The window is judged in pieces of this length: a single second holds too few requests."""
MIN_FINISHED = 20
"""Requests in a piece that count as a measurement."""
MIN_PIECES = 3
CALM_SHARE = 0.1
"""The time of a request in the calmest tenth of the pieces is taken for unloaded."""
HEADROOM = 2.0
"""Slots over the knee: who is admitted then takes at most twice the unloaded time. Over a calm peak: room to grow."""
SATURATED = 1.5
"""Concurrency over the knee from which more of it no longer brings more throughput."""
MIN_SLOTS = 2
TOLERANCE = 0.25
"""A size that is off by no more than this is right."""


class Verdict(enum.StrEnum):
    TOO_LITTLE = "too_little"
    """Not enough was measured to say anything."""
    RIGHT = "right"
    FEWER = "fewer"
    MORE = "more"


@dataclass(frozen=True, kw_only=True)
class Advice:
    """`slots` is what is advised. Times in seconds, rates in requests a second, of the measured pieces."""

    verdict: Verdict
    slots: int
    pieces: int = 0
    per_second: float = 0.0
    best_per_second: float = 0.0
    latency_seconds: float = 0.0
    calm_latency_seconds: float = 0.0
    concurrency: float = 0.0
    peak_concurrency: float = 0.0
    knee: float = 0.0
    is_saturated: bool = False

    @property
    def threshold_per_second(self) -> float:
        """What `slots` let through when each request takes the unloaded time (the text's 100 / 10 ms)."""
        return self.slots / self.calm_latency_seconds if self.calm_latency_seconds else 0.0


@dataclass(frozen=True, kw_only=True)
class _Piece:
    per_second: float
    concurrency: float
    refused: int

    @property
    def latency_seconds(self) -> float:
        return self.concurrency / self.per_second


def advise(*, seconds: Sequence[Second], slots: int) -> Advice:
    """What `seconds` say about a limiter of `slots`. `TOO_LITTLE` keeps the size."""
    pieces = _pieces(seconds)
    if len(pieces) < MIN_PIECES:
        return Advice(verdict=Verdict.TOO_LITTLE, slots=slots, pieces=len(pieces))
    latencies = sorted(piece.latency_seconds for piece in pieces)
    calm = latencies[int(len(latencies) * CALM_SHARE)]
    best = max(piece.per_second for piece in pieces)
    peak = max(piece.concurrency for piece in pieces)
    knee = best * calm
    is_saturated = peak > knee * SATURATED
    advised = max(MIN_SLOTS, math.ceil(HEADROOM * (knee if is_saturated else peak)))
    was_refused = any(piece.refused for piece in pieces)
    if is_saturated and slots > advised * (1 + TOLERANCE):
        verdict = Verdict.FEWER
    elif not is_saturated and (slots < peak * (1 + TOLERANCE) or was_refused):
        verdict, advised = Verdict.MORE, max(advised, math.ceil(slots * SATURATED))
    else:
        verdict, advised = Verdict.RIGHT, slots
    per_second = sum(piece.per_second for piece in pieces) / len(pieces)
    concurrency = sum(piece.concurrency for piece in pieces) / len(pieces)
    return Advice(
        verdict=verdict,
        slots=advised,
        pieces=len(pieces),
        per_second=per_second,
        best_per_second=best,
        latency_seconds=concurrency / per_second,
        calm_latency_seconds=calm,
        concurrency=concurrency,
        peak_concurrency=peak,
        knee=knee,
        is_saturated=is_saturated,
    )


def _pieces(seconds: Sequence[Second]) -> list[_Piece]:
    """Pieces of PIECE_SECONDS with enough requests; the newest second ends the last one."""
    if not seconds:
        return []
    end = seconds[-1].at
    sums: dict[int, list[float]] = {}
    for second in seconds:
        piece = sums.setdefault((end - second.at) // PIECE_SECONDS, [0.0, 0.0, 0.0])
        piece[0] += second.finished
        piece[1] += second.busy_seconds
        piece[2] += second.refused
    return [
        _Piece(per_second=finished / PIECE_SECONDS, concurrency=busy / PIECE_SECONDS, refused=int(refused))
        for _, (finished, busy, refused) in sorted(sums.items(), reverse=True)
        if finished >= MIN_FINISHED
    ]
