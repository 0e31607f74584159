"""The test settings with Django's usual middleware and DRF as it comes, for benchmarks.grab_literal."""

from __future__ import annotations

from paysys.settings.test import *  # noqa: F403

ROOT_URLCONF = "benchmarks.grab_literal"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
REST_FRAMEWORK: dict[str, object] = {}
