"""Routes under /api/v1/."""

from __future__ import annotations

from django.urls import path

from withdrawals.api import views

urlpatterns = [
    path("withdrawals", views.WithdrawalsView.as_view()),
    path("withdrawals/<str:order_no>", views.WithdrawalView.as_view()),
    path("withdrawals/<str:order_no>/cancel", views.WithdrawalCancelView.as_view()),
    path("bank-cards", views.BankCardsView.as_view()),
    path("bank-cards/<str:card_id>", views.BankCardView.as_view()),
    path("wechat-account", views.WechatAccountView.as_view()),
]
