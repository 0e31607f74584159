"""The only module that knows django-sharding: it carries the role → database map and the vertical split.

Relied on: `model_config(database=…)` and `ShardedRouter` (reads, writes and migrations of a model go to its database).
Not used: its bucketing strategies, its migrate command, its shard groups (see docs/adr/0002).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.apps import apps
from django.db import models
from django_sharding_library.decorators import model_config
from django_sharding_library.router import ShardedRouter

from foundation.db import roles

ModelClass = TypeVar("ModelClass", bound=type[models.Model])


def stored_on(role: str) -> Callable[[ModelClass], ModelClass]:
    """Class decorator: the model's table lives on the database that plays `role`."""
    return model_config(database=roles.alias_for(role))


def stored_on_alias(alias: str) -> Callable[[ModelClass], ModelClass]:
    """As `stored_on`, for models made per order table."""
    return model_config(database=alias)


class RoleRouter(ShardedRouter):
    """django-sharding's router plus what it does not know: tables that exist in every database.

    A model with `paysys_everywhere = True` is migrated to each alias and must always be used with `.using(alias)`.
    """

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        if getattr(model, "paysys_everywhere", False):
            return None
        return super().db_for_read(model, **hints)

    def db_for_write(self, model: type[models.Model], **hints: Any) -> str | None:
        if getattr(model, "paysys_everywhere", False):
            return None
        return super().db_for_write(model, **hints)

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: Any) -> bool | None:
        if "role" in hints:
            return db == roles.alias_for(hints["role"])
        if hints.get("everywhere"):
            return db in roles.all_aliases()
        # Migrations hand over historical models, which carry no marks of ours: ask the present one by name.
        name = model_name or getattr(hints.get("model"), "__name__", None)
        if name is None:
            return db == roles.alias_for("default")
        try:
            model = apps.get_model(app_label, name)
        except LookupError:  # a model that was deleted since; its table is where such tables were
            return db == roles.alias_for("default")
        if getattr(model, "paysys_everywhere", False):
            return db in roles.all_aliases()
        return super().allow_migrate(db, app_label, model_name=name)
