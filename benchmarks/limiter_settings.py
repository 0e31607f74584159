"""The development settings, with the benchmark's addresses."""

from __future__ import annotations

from paysys.settings.dev import *  # noqa: F403

ROOT_URLCONF = "benchmarks.limiter_app"
