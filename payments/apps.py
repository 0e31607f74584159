from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"
    verbose_name = "Payments"

    def ready(self) -> None:
        from payments import callbacks, jobs, tasks  # noqa: F401 - registers subscribers, jobs and the bell
