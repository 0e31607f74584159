"""Routes under /api/v1/."""

from __future__ import annotations

from django.urls import path

from collect.api import views

urlpatterns = [
    path("collect/merchants", views.MerchantsView.as_view()),
    path("collect/codes", views.CodesView.as_view()),
    path("collect/codes/<str:code_id>.svg", views.SvgView.as_view(), name="collect_svg"),
    path("collect/codes/<str:code_id>.png", views.PngView.as_view(), name="collect_png"),
    path("collect/codes/<str:code_id>", views.CodeView.as_view()),
    path("collect/codes/<str:code_id>/disable", views.CodeDisableView.as_view()),
    path("collect/collections", views.CollectionsView.as_view()),
    path("collect/collections.csv", views.CollectionsCsvView.as_view()),
    path("collect/collections/<str:collection_id>", views.OneCollectionView.as_view()),
    path("collect/statistics", views.StatisticsView.as_view()),
    path("collect/statement", views.StatementView.as_view()),
    path("collect/statement.csv", views.StatementCsvView.as_view()),
]
