from django.apps import AppConfig


class CollectConfig(AppConfig):
    name = "collect"
    verbose_name = "Scan to collect"

    def ready(self) -> None:
        from collect import callbacks, jobs  # noqa: F401 - registers subscribers and jobs
