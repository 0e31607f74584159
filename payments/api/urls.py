"""Routes under /api/v1/."""

from __future__ import annotations

from django.urls import path

from payments.api import business, refunds, views

urlpatterns = [
    path("recharges", views.RechargesView.as_view()),
    path("payments", business.BusinessPaymentsView.as_view()),
    path("refunds", refunds.RefundsView.as_view()),
    path("refunds/<str:refund_no>", refunds.RefundView.as_view()),
    path("transfers", views.TransfersView.as_view()),
    path("orders", views.OrderListView.as_view()),
    path("orders/pages", views.OrderPagesView.as_view()),
    path("orders/<str:order_no>", business.SharedOrderView.as_view()),
    path("orders/<str:order_no>/attempts", business.PayingView.as_view()),
    path("orders/<str:order_no>/close", views.OrderCloseView.as_view()),
]
