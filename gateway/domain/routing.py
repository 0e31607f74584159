"""Which channel may take a payment, and which of several does."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

SCENES: Mapping[str, frozenset[str]] = {
    "wechat": frozenset({"native", "page", "h5", "jsapi"}),
    "alipay": frozenset({"native", "page", "h5"}),
    "kuaiqian": frozenset({"page", "h5"}),
}
"""What the adapters can prepare; a channel that is missing here is not asked about."""


LOCAL_SCENES: Mapping[str, frozenset[str]] = {
    "alipay": frozenset({"page", "h5"}),
    "kuaiqian": frozenset({"page", "h5"}),
}
"""Prepared by a signature of our own: nothing is sent, so that the success says nothing about the channel."""


class Kind(StrEnum):
    """What a channel can be opened for."""

    RECHARGE = "recharge"
    PAYMENT = "payment"
    REDPACKET = "redpacket"
    COLLECT = "collect"


class Scene(StrEnum):
    """Where the person pays; see gateway.ports.PrepayRequest."""

    NATIVE = "native"
    PAGE = "page"
    H5 = "h5"
    JSAPI = "jsapi"


class ClientClass(StrEnum):
    """How much a client counts. Source: requirements, "vip、大客户 … 加强权重"."""

    VIP = "VIP"
    LARGE = "LARGE"
    ORDINARY = "ORDINARY"


class Exclusion(StrEnum):
    """Why a channel was not taken. The first that applies, in this order."""

    DISABLED = "disabled"
    KIND = "kind"
    SCENE = "scene"
    CLIENT_CLASS = "client_class"
    AMOUNT = "amount"
    UNHEALTHY = "unhealthy"
    NO_WEIGHT = "no_weight"
    """Only used when it is named."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a channel may be used for. `min_fen` and `max_fen` are both allowed; weights of 0 mean "only by name"."""

    channel: str
    is_enabled: bool
    min_fen: int
    max_fen: int
    kinds: frozenset[str]
    scenes: frozenset[str]
    client_classes: frozenset[str]
    weights: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The payment a channel is wanted for."""

    amount_fen: int
    kind: str
    scene: str
    client_class: str


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One candidate. `exclusion`: "" when it could be taken; `weight`: of this client's class."""

    channel: str
    weight: int
    exclusion: str = ""

    @property
    def is_possible(self) -> bool:
        return not self.exclusion


def judge(*, terms: Terms, wish: Wish, is_healthy: bool, is_named: bool) -> Judged:
    """Whether the channel may take the payment. By name a weight of 0 does, and scenes are left to the adapter."""
    weight = terms.weights.get(wish.client_class, 0)
    checks = (
        (Exclusion.DISABLED, not terms.is_enabled),
        (Exclusion.KIND, wish.kind not in terms.kinds),
        (Exclusion.SCENE, not _takes_scene(terms, wish.scene, is_named=is_named)),
        (Exclusion.CLIENT_CLASS, wish.client_class not in terms.client_classes),
        (Exclusion.AMOUNT, not terms.min_fen <= wish.amount_fen <= terms.max_fen),
        (Exclusion.UNHEALTHY, not is_healthy),
        (Exclusion.NO_WEIGHT, weight <= 0 and not is_named),
    )
    reason = next((exclusion.value for exclusion, applies in checks if applies), "")
    return Judged(channel=terms.channel, weight=weight, exclusion=reason)


def _takes_scene(terms: Terms, scene: str, *, is_named: bool) -> bool:
    can = is_named or scene in SCENES.get(terms.channel, frozenset({scene}))
    return can and scene in terms.scenes


def pick(*, judged: Iterable[Judged], key: str) -> str:
    """One of the possible channels, each as often as its weight says over many keys; "" when none is possible.

    The same key always gets the same answer, in every process; a channel that comes or goes moves only the keys that
    it takes or had (weighted rendezvous hashing).
    """
    possible = [candidate for candidate in judged if candidate.is_possible]
    if not possible:
        return ""
    return min(possible, key=lambda one: (_distance(key, one), one.channel)).channel


def _distance(key: str, candidate: Judged) -> float:
    digest = hashlib.sha256(f"{key}:{candidate.channel}".encode()).digest()
    fraction = (int.from_bytes(digest[:7], "big") + 1) / (1 << 56)
    return -math.log(fraction) / max(candidate.weight, 1)
