from django.apps import AppConfig
from django.core import checks


class GatewayConfig(AppConfig):
    name = "gateway"
    verbose_name = "Gateway"

    def ready(self) -> None:
        from gateway import jobs, registry  # noqa: F401 - registers the jobs

        checks.register(registry.check_addresses, checks.Tags.security)
