from django.apps import AppConfig


class FundsConfig(AppConfig):
    name = "funds"
    verbose_name = "Funds"

    def ready(self) -> None:
        from funds import callbacks, jobs  # noqa: F401 - registers subscribers and jobs
