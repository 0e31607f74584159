"""What payers read, in Chinese and English."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_WORDS: Mapping[str, tuple[str, str]] = {
    "title": ("付款", "Pay"),
    "pay_to": ("付款给", "Pay to"),
    "received_by": ("收款方", "Received by"),
    "subject": ("事由", "For"),
    "order": ("订单", "Order"),
    "amount": ("金额", "Amount"),
    "amount_yuan": ("付款金额（元）", "Amount in yuan"),
    "limits": ("0.01 至 %s 元", "0.01 to %s yuan"),
    "delete": ("删除", "Delete"),
    "pad": ("数字键盘", "Key pad"),
    "pay": ("付款", "Pay"),
    "wechat": ("微信支付", "WeChat Pay"),
    "alipay": ("支付宝", "Alipay"),
    "choose": ("选择付款方式", "How do you want to pay?"),
    "with_app": ("打开%s付款", "Pay with %s"),
    "with_code": ("用%s扫码付款", "Scan with %s"),
    "not_held": ("款项直接进入收款方的账户。", "The money goes straight to the receiver's account."),
    "check": ("付款前请核对收款方和金额。", "Check receiver and amount before you pay."),
    "waiting": ("等待付款", "Waiting for your payment"),
    "confirming": ("付款后本页会自动更新。", "This page changes by itself once you have paid."),
    "refresh": ("刷新", "Refresh"),
    "scan": ("请用%s扫描二维码", "Scan this code with %s"),
    "scan_alt": ("付款二维码", "QR code for the payment"),
    "open": ("打开%s", "Open %s"),
    "confirm": ("确认付款", "Confirm the payment"),
    "until": ("请在 %s 前付款", "Pay before %s"),
    "cancel": ("不付了，重新选择", "Do not pay, choose again"),
    "paid": ("付款成功", "Paid"),
    "receipt": ("付款凭证", "Receipt"),
    "time": ("付款时间", "Paid at"),
    "channel": ("付款方式", "Paid with"),
    "number": ("收款单号", "Payment number"),
    "provider_no": ("渠道单号", "Channel's number"),
    "refunded": ("已退款", "Refunded"),
    "all_refunded": ("已全额退款", "Refunded in full"),
    "closed": ("未付款，已关闭", "Not paid, and closed"),
    "closed_text": (
        "这笔付款已关闭。如仍扣款，款项将自动退回。",
        "This payment is closed. Should money have left your account all the same, it comes back by itself.",
    ),
    "again": ("重新付款", "Pay again"),
    "gone": ("收款码已失效", "This code can no longer be paid"),
    "gone_text": (
        "该收款码已过期、已使用或已停用，请向收款方索取新码。",
        "It is over, used or switched off. Ask the receiver for a new one.",
    ),
    "unknown": ("没有这个收款码", "There is no such code"),
    "unknown_text": ("请重新扫描，或向收款方确认。", "Scan it again, or ask the receiver."),
    "no_receiver": ("暂时无法收款", "Cannot take payments now"),
    "no_receiver_text": (
        "收款方尚未开通收款账户。没有发生任何扣款。",
        "The receiver has no account in use. Nothing was charged.",
    ),
    "other_app": (
        "收款方不支持%s，请用其他应用扫码。",
        "The receiver does not take %s. Scan the code with another app.",
    ),
    "outside": (
        "当前无法在微信内付款。请点右上角，在浏览器中打开本页。",
        "You cannot pay inside WeChat just now. Open this page in your browser (top right).",
    ),
    "too_many": ("操作过于频繁，请稍后再试。", "Too many requests. Please try again shortly."),
    "malformed": ("请输入正确的金额，最多两位小数。", "Type an amount with at most two decimals."),
    "zero": ("金额必须大于零。", "The amount must be more than zero."),
    "over_limit": ("单笔最高 %s 元。", "No more than %s yuan at a time."),
    "fixed": ("该收款码的金额是固定的。", "The amount of this code is fixed."),
    "no_way": ("请选择付款方式。", "Choose how you want to pay."),
    "changed": ("内容有变动，请再点一次付款。", "Something has changed. Please press Pay once more."),
    "poster_hint": ("微信、支付宝扫一扫，向我付款", "Scan with WeChat or Alipay to pay"),
    "print": ("打印", "Print"),
    "valid_until": ("有效期至 %s", "Valid until %s"),
}


def words(language: str | None) -> Mapping[str, str]:
    """All texts in the language of a tag such as "zh-hans"; anything but Chinese is answered in English."""
    index = 0 if (language or "").startswith("zh") else 1
    return MappingProxyType({name: pair[index] for name, pair in _WORDS.items()})
