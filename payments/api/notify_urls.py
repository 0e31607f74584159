"""Routes under /notify/."""

from __future__ import annotations

from django.urls import path

from payments.api import notify

urlpatterns = [
    path("alipay", notify.AlipayView.as_view()),
    path("kuaiqian", notify.KuaiqianView.as_view()),
    path("kuaiqian/payout", notify.KuaiqianPayoutView.as_view()),
    path("wechat", notify.WechatView.as_view()),
    path("wechat/refund", notify.WechatRefundView.as_view()),
]
