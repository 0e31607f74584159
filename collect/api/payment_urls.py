"""Routes of payments under /api/v1/."""

from __future__ import annotations

from django.urls import path

from collect.api import payments

urlpatterns = [
    path("collect/codes/<str:code_id>/payments", payments.PaymentsView.as_view()),
    path("collect/payments/<str:payment_no>", payments.PaymentView.as_view()),
    path("collect/collections/<str:collection_id>/refunds", payments.CollectionRefundsView.as_view()),
]
