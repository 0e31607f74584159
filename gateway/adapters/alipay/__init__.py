"""Alipay open platform, direct merchant, with the SDK python-alipay-sdk 3.4.0.

Sources: Alipay's documents (opendocs.alipay.com) and design `providers.md` 1.2, 2, 5. `client` builds the SDK, points
it at the configured address and turns everything that can happen to a call into an answer or a reason; `fields` reads
the provider's values; `adapter` has the calls, `notices` and `bills` what arrives and what is downloaded.
"""

from gateway.adapters.alipay.adapter import AlipayAdapter
from gateway.adapters.alipay.client import AlipayConfig

__all__ = ["AlipayAdapter", "AlipayConfig"]
