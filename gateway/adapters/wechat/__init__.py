"""WeChat Pay API v3, direct merchant: one class for every capability of gateway.ports that WeChat has.

Sources: WeChat's merchant documents (pay.weixin.qq.com/doc/v3/merchant) and design `providers.md` 1.1, 2, 3. `client`
holds the SDK and what becomes of a call, `payments`, `payouts`, `bills` and `notices` one capability each, `values` and
`bill_files` read JSON and CSV. Merchant and application of every answer are checked; all ends in four outcomes.
"""

from __future__ import annotations

from gateway.adapters.wechat.bills import BillCalls
from gateway.adapters.wechat.client import AddressNotSettable, Credentials, WechatConfig, build_client, read_credentials
from gateway.adapters.wechat.notices import NoticeCalls, decrypt_resource
from gateway.adapters.wechat.payments import PREPAY_REFUSALS
from gateway.adapters.wechat.values import AnswerMismatch, cut_utf8

__all__ = [
    "PREPAY_REFUSALS",
    "AddressNotSettable",
    "AnswerMismatch",
    "Credentials",
    "WechatAdapter",
    "WechatConfig",
    "build_client",
    "cut_utf8",
    "decrypt_resource",
    "read_credentials",
]


class WechatAdapter(NoticeCalls, BillCalls):
    """gateway.ports.PaymentChannel, Payout, PayoutQuery, PayoutCancel and BillSource for WeChat Pay v3."""
