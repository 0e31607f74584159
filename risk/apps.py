from django.apps import AppConfig
from django.db.models import Q


class RiskConfig(AppConfig):
    name = "risk"
    verbose_name = "Risk control"

    def ready(self) -> None:
        from foundation import encryption
        from risk import callbacks, jobs  # noqa: F401 - registers subscribers and jobs
        from risk.models import ListEntry
        from risk.services import gathering

        encryption.register(
            model=ListEntry,
            field="value_closed",
            index=encryption.Index(
                fields=("value_index",),
                column=gathering.LIST_COLUMN,
                needs=("subject_kind",),
                text=lambda row, value: gathering.indexed_text(subject_kind=row["subject_kind"], value=value),
                guarded=lambda now: Q(removed_at__isnull=True, expires_at__gt=now),
            ),
        )
