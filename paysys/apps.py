from django.apps import AppConfig
from django.db.models.signals import post_migrate


class PaysysConfig(AppConfig):
    name = "paysys"
    verbose_name = "Payment system"

    def ready(self) -> None:
        from paysys import (
            celery,  # noqa: F401 - the Celery application
            grey_release,  # noqa: F401 - tells the flags who is who
            order_cockpit,  # noqa: F401 - order pages: the rest of an order's life, and deeds
            order_timeline,  # noqa: F401 - order pages
            proofs,  # noqa: F401 - proof job
            roles,
        )

        post_migrate.connect(roles.after_migrate, dispatch_uid="paysys.roles")
