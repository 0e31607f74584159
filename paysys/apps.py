from django.apps import AppConfig


class PaysysConfig(AppConfig):
    name = "paysys"
    verbose_name = "Payment system"

    def ready(self) -> None:
        from paysys import celery, proofs  # noqa: F401 - the current Celery application, and the proof job
