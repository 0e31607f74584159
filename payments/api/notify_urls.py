"""Routes under /notify/."""

from __future__ import annotations

from django.urls import path

from payments.api import notify

urlpatterns = [
    path("alipay", notify.alipay),
    path("kuaiqian", notify.kuaiqian),
    path("kuaiqian/payout", notify.kuaiqian_payout),
    path("wechat", notify.wechat),
    path("wechat/refund", notify.wechat),
]
