from django.apps import AppConfig


class FoundationConfig(AppConfig):
    name = "foundation"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Operations"

    def ready(self) -> None:
        from foundation import (
            audit_chain,  # noqa: F401 - registers its jobs
            audit_requests,
            housekeeping,  # noqa: F401 - registers its job
            outbox,
            push,
            static_pages,  # noqa: F401 - registers its job
        )
        from foundation.db import checks  # noqa: F401 - registers the system checks

        outbox.subscribe(push.TOPIC, push.deliver)
        audit_requests.connect()
