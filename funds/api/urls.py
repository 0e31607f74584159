"""Routes under /api/v1/."""

from __future__ import annotations

from django.urls import path

from funds.api import views

urlpatterns = [
    path("wallet", views.WalletView.as_view()),
    path("wallet/entries", views.WalletEntriesView.as_view()),
]
