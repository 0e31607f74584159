from django.apps import AppConfig


class RiskConfig(AppConfig):
    name = "risk"
    verbose_name = "Risk control"

    def ready(self) -> None:
        from risk import callbacks, jobs  # noqa: F401 - registers subscribers and jobs
