from django.apps import AppConfig
from django.core import checks


class GatewayConfig(AppConfig):
    name = "gateway"
    verbose_name = "Gateway"

    def ready(self) -> None:
        from gateway import registry

        checks.register(registry.check_addresses, checks.Tags.security)
