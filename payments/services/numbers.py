"""Order numbers for the business apps (they do not see `orders`). Issue before opening transactions."""

from __future__ import annotations

from orders.domain.numbers import Prefix
from orders.services.numbers import issue

__all__ = ["Prefix", "issue"]
