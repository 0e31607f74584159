from django.apps import AppConfig


class WithdrawalsConfig(AppConfig):
    name = "withdrawals"
    verbose_name = "Withdrawals"

    def ready(self) -> None:
        from withdrawals import callbacks, jobs  # noqa: F401 - registers subscribers and jobs
