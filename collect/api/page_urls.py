"""Routes under /c/: the payers' pages. Short, for they stand in QR codes."""

from __future__ import annotations

from django.urls import path

from collect.api import page

urlpatterns = [
    path("openid", page.openid_view, name="collect_openid"),
    path("<str:code_id>", page.code_page, name="collect_page"),
    path("<str:code_id>/poster", page.poster_page, name="collect_poster"),
    path("<str:code_id>/<str:collection_id>.svg", page.payment_svg, name="collect_payment_svg"),
    path("<str:code_id>/<str:collection_id>", page.payment_page, name="collect_payment"),
]
