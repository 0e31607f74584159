"""Routes under /api/v1/."""

from __future__ import annotations

from django.urls import path

from redpacket.api import views

urlpatterns = [
    path("redpackets", views.RedPacketsView.as_view()),
    path("redpackets/statistics", views.StatisticsView.as_view()),
    path("redpackets/<str:packet_id>", views.RedPacketView.as_view()),
    path("redpackets/<str:packet_id>/grab", views.GrabView.as_view()),
    path("redpackets/<str:packet_id>/claims", views.ClaimsView.as_view()),
    path("redpackets/<str:packet_id>/reading", views.ReadingView.as_view()),
    path("redpackets/<str:packet_id>/article", views.article_page),
]
