from django.apps import AppConfig


class IdentityConfig(AppConfig):
    name = "identity"
    verbose_name = "Enterprises and employees"

    def ready(self) -> None:
        from foundation import encryption
        from identity import jobs  # noqa: F401 - registers the jobs
        from identity.api import authentication  # noqa: F401 - registers the OpenAPI security scheme
        from identity.models import Authenticator, Employee, ShortMessage

        encryption.register(model=Employee, field="phone")
        encryption.register(model=ShortMessage, field="text")
        encryption.register(model=Authenticator, field="secret")
