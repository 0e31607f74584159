"""The URL map."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from foundation import health
from foundation.api import handlers
from identity.admin import entrance, staff

API_URLS = [
    *("identity.api.urls", "funds.api.urls", "payments.api.urls", "withdrawals.api.urls", "redpacket.api.urls"),
    "collect.api.urls",
    "collect.api.payment_urls",
]

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path(
        "favicon.ico",
        RedirectView.as_view(url=f"{settings.STATIC_URL}drf_spectacular_sidecar/swagger-ui-dist/favicon-32x32.png"),
    ),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("", include("django_prometheus.urls")),
    path("admin/login/", entrance.login_view),
    path("admin/code/", staff.code_view, name="staff_code"),
    path("admin/code/set-up/", staff.enrol_view, name="staff_enrol"),
    path("admin/", admin.site.urls),
    path("i18n/", include("django.conf.urls.i18n")),
    *(path("api/v1/", include(module)) for module in API_URLS),
    path("api/schema/", SpectacularAPIView.as_view(permission_classes=[], authentication_classes=[]), name="schema"),
    path(
        "api/docs/",
        SpectacularSwaggerSplitView.as_view(url_name="schema", permission_classes=[], authentication_classes=[]),
        name="docs",
    ),
    re_path(r"^api/(?P<rest>.*)$", handlers.not_found_api),
    path("notify/", include("payments.api.notify_urls")),
    path("c/", include("collect.api.page_urls")),
]

handler400 = handlers.bad_request
handler403 = handlers.permission_denied
handler404 = handlers.page_not_found
handler500 = handlers.server_error
