"""16 order tables and 16 attempt tables, each a model of its own made from one abstract class.

Only this app imports it. A row's table follows from its number (orders.domain.numbers.table_of); MariaDB enforces it
with a CHECK (migration 0002), the model refuses a wrong one on save everywhere. Kinds and states are those of
orders.domain.states; they are not `choices`, so that a new kind needs no migration of 32 tables.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models

from foundation.db import roles, sharding
from foundation.db.fields import AsciiCharField, FenField
from orders.domain import numbers


class WrongTable(RuntimeError):
    """A row was about to be written into a table its number does not name."""


class OrderRow(models.Model):
    """One order (订单); meaning of the columns in orders.domain.records.OrderRecord."""

    table: int

    order_no = AsciiCharField(max_length=32, primary_key=True)
    kind = AsciiCharField(max_length=24)
    state = AsciiCharField(max_length=16)
    amount_fen = FenField()
    refunding_fen = FenField(default=0)
    refunded_fen = FenField(default=0)
    subject = models.CharField(max_length=128, blank=True)
    employee_id = models.BigIntegerField()
    enterprise_id = models.BigIntegerField()
    business_no = AsciiCharField(max_length=64, blank=True, default="")
    original_order_no = AsciiCharField(max_length=32, blank=True, default="")
    effective_attempt_no = AsciiCharField(max_length=32, blank=True, default="")
    created_at = models.DateTimeField()
    paid_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    channel = AsciiCharField(max_length=16, blank=True, default="")

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(condition=models.Q(amount_fen__gt=0), name="%(class)s_amount_positive"),
            models.CheckConstraint(
                condition=models.Q(refunding_fen__gte=0)
                & models.Q(refunded_fen__gte=0)
                & models.Q(amount_fen__gte=models.F("refunding_fen") + models.F("refunded_fen")),
                name="%(class)s_refund_bounds",
            ),
        ]
        indexes = [
            models.Index(fields=["created_at", "order_no"], name="%(class)s_created"),
            models.Index(fields=["employee_id", "created_at", "order_no"], name="%(class)s_employee"),
            models.Index(fields=["business_no"], name="%(class)s_business"),
            models.Index(fields=["original_order_no"], name="%(class)s_original"),
            models.Index(fields=["state", "expires_at"], name="%(class)s_state_exp"),
        ]

    def __str__(self) -> str:
        return self.order_no

    def save(self, *args: Any, **kwargs: Any) -> None:
        _refuse_wrong_table(self.order_no, self.table)
        super().save(*args, **kwargs)


class AttemptRow(models.Model):
    """One attempt (流水); meaning of the columns in orders.domain.records.AttemptRecord.

    `effective` is 1 on the attempt that won its order and NULL elsewhere, so the unique key allows one winner.
    """

    table: int

    attempt_no = AsciiCharField(max_length=32, primary_key=True)
    order_no = AsciiCharField(max_length=32)
    channel = AsciiCharField(max_length=16)
    scene = AsciiCharField(max_length=16, blank=True, default="")
    state = AsciiCharField(max_length=16)
    amount_fen = FenField()
    provider_no = AsciiCharField(max_length=64, blank=True, default="")
    payment = models.JSONField(null=True)
    result_code = models.CharField(max_length=64, blank=True, default="")
    effective = models.PositiveSmallIntegerField(null=True)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    next_check_at = models.DateTimeField(null=True)
    tries = models.PositiveIntegerField(default=0)

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(condition=models.Q(amount_fen__gt=0), name="%(class)s_amount_positive"),
            models.CheckConstraint(
                condition=models.Q(effective__isnull=True) | models.Q(effective=1),
                name="%(class)s_effective_one",
            ),
            models.UniqueConstraint(fields=["order_no", "effective"], name="%(class)s_one_effective"),
        ]
        indexes = [
            models.Index(fields=["provider_no"], name="%(class)s_provider"),
            models.Index(fields=["state", "next_check_at"], name="%(class)s_due"),
        ]

    def __str__(self) -> str:
        return self.attempt_no

    def save(self, *args: Any, **kwargs: Any) -> None:
        _refuse_wrong_table(self.order_no, self.table)
        _refuse_wrong_table(self.attempt_no, self.table)
        super().save(*args, **kwargs)


def _refuse_wrong_table(number: str, table: int) -> None:
    if numbers.table_of(number) != table:
        raise WrongTable(f"{number} belongs to table {numbers.table_of(number)}, not {table}")


def _concrete(base: type[models.Model], name: str, table: int) -> Any:
    meta = type("Meta", (base.Meta,), {"db_table": f"orders_{name.lower()}_{table:02d}", "abstract": False})  # type: ignore[attr-defined]
    attributes = {"__module__": __name__, "Meta": meta, "table": table, "__doc__": base.__doc__}
    model = type(f"{name}{table:02d}", (base,), attributes)
    return sharding.stored_on_alias(roles.orders_alias(table))(model)


ORDER_TABLES: tuple[type[OrderRow], ...] = tuple(
    _concrete(OrderRow, "Order", table) for table in range(roles.ORDER_TABLES)
)
ATTEMPT_TABLES: tuple[type[AttemptRow], ...] = tuple(
    _concrete(AttemptRow, "Attempt", table) for table in range(roles.ORDER_TABLES)
)


class ReplicaBeat(models.Model):
    """One row (id 1) in each order database that has a replica: when `orders.services.beating` last wrote there.

    Read on the replica it tells how old the replica's data is (orders.selectors.sources).
    """

    paysys_everywhere = True

    id = models.PositiveSmallIntegerField(primary_key=True)
    beat_at = models.DateTimeField()

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        db_table = "orders_replica_beat"

    def __str__(self) -> str:
        return self.beat_at.isoformat()


class TablePlace(models.Model):
    """What this database says about one order table and its attempt table; a row in every database that has one.

    The map in the settings says where a process looks; this row says where the rows are. Writers take its shared lock
    (orders.selectors.places), a move its exclusive one (orders.services.moving).
    """

    paysys_everywhere = True

    class State(models.TextChoices):
        OPEN = "OPEN", "read and written here"
        MOVING = "MOVING", "closed for writes, being copied to `other`"
        INCOMING = "INCOMING", "being filled from `other`, not in use"
        MOVED = "MOVED", "lives on `other` now"

    table_no = models.PositiveSmallIntegerField(primary_key=True)
    state = AsciiCharField(max_length=16, choices=State.choices)
    other = AsciiCharField(max_length=64, blank=True, default="")
    verified_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField()

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(table_no__lt=roles.ORDER_TABLES),
                name="orders_place_table_exists",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.table_no:02d} {self.state}"


class OrderIndex(models.Model):
    """No table: stands for all 16 in the admin and carries the permission `orders.view_orderindex`."""

    order_no = AsciiCharField(max_length=32, primary_key=True)

    class Meta:
        managed = False
        default_permissions = ("view",)
        verbose_name = "order"
        verbose_name_plural = "orders"

    def __str__(self) -> str:
        return self.order_no
