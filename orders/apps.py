from django.apps import AppConfig
from django.core.checks import Tags, register


class OrdersConfig(AppConfig):
    name = "orders"
    verbose_name = "Orders"

    def ready(self) -> None:
        from orders import jobs  # noqa: F401 - registers the job
        from orders.selectors import places

        register(places.check_places, Tags.database)
