from django.apps import AppConfig


class PaysysConfig(AppConfig):
    name = "paysys"
    verbose_name = "Payment system"

    def ready(self) -> None:
        from paysys import celery, order_timeline, proofs  # noqa: F401 - Celery application, order pages, proof job
