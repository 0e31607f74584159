from django.apps import AppConfig
from django.core import checks


class GatewayConfig(AppConfig):
    name = "gateway"
    verbose_name = "Gateway"

    def ready(self) -> None:
        from foundation import encryption
        from gateway import jobs, registry  # noqa: F401 - registers the jobs
        from gateway.models import SECRET_COLUMN, Credential

        encryption.register(
            model=Credential,
            field="secret",
            index=encryption.Index(fields=("fingerprint",), column=SECRET_COLUMN),
        )
        checks.register(registry.check_addresses, checks.Tags.security)
