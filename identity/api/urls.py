"""Routes under /api/v1/."""

from __future__ import annotations

from django.urls import path

from identity.api import views

urlpatterns = [
    path("auth/login", views.LoginView.as_view()),
    path("auth/password", views.PasswordView.as_view()),
    path("auth/phone-codes", views.PhoneCodesView.as_view()),
    path("validator/tokens", views.ValidatorTokensView.as_view()),
    path("groups", views.GroupsView.as_view()),
]
