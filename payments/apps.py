from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"
    verbose_name = "Payments"

    def ready(self) -> None:
        from foundation import encryption
        from payments import callbacks, jobs, tasks  # noqa: F401 - registers subscribers, jobs and the bell
        from payments.models import BusinessApp

        encryption.register(model=BusinessApp, field="secret")
        # The secret that was is moved there as it lies.
        encryption.register(model=BusinessApp, field="previous_secret", closed_as="payments_businessapp.secret")
