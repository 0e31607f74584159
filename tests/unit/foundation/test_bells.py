"""A name that was rung a moment ago is not rung again."""

from __future__ import annotations

from foundation.bells import Coalescer


def test_names_pass_once_within_the_time() -> None:
    moment = [100.0]
    coalescer = Coalescer(seconds=0.5, clock=lambda: moment[0])
    assert coalescer.take(["a", "b", "a"]) == ["a", "b"]
    moment[0] = 100.4
    assert coalescer.take(["b", "c"]) == ["c"]
    moment[0] = 100.5
    assert coalescer.take(["a", "b", "c"]) == ["a", "b"]
    moment[0] = 200.0
    assert coalescer.take([]) == []
    assert coalescer._rung_at == {}
