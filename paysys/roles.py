"""What each kind of staff may do: the one place where it is written down.

A role is a Django group of that name; its permissions are made equal to this table after every `migrate`, so that what
somebody gave a role by hand does not outlive the next release. No role may both propose and decide one thing, and the
database refuses a decision by its proposer besides. docs/PERMISSIONS.md shows the table and what it comes to on every
page of the admin; a test compares all three. Who does the work of two roles is in both groups; a superuser is for
setting up and for emergencies. Source: design `admin.md`; the first requirements text, 支付安全.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.apps import apps as registry
from django.apps.registry import Apps
from django.contrib.auth.models import Group, Permission
from django.db import transaction

from foundation.db import roles

MONEY = ("orders", "funds", "payments", "withdrawals", "redpacket", "collect", "reconciliation")
SYSTEM = ("foundation", "gateway", "django_celery_beat")
BUSINESS = (*MONEY, "identity", "risk")
EVERYTHING = (*BUSINESS, *SYSTEM, "auth")


@dataclass(frozen=True, kw_only=True)
class Role:
    """`views`: apps of which every list and page may be seen. `may`: "app.codename" of what may be done."""

    name: str
    meaning: str
    views: tuple[str, ...]
    may: tuple[str, ...] = ()


def _manage(app: str, *models: str) -> tuple[str, ...]:
    return tuple(f"{app}.{what}_{model}" for model in models for what in ("add", "change", "delete"))


ROLES = (
    Role(
        name="maker",
        meaning="Prepares: proposes adjustments and payout numbers, assigns withdrawals, verifies receiving accounts.",
        views=BUSINESS,
        may=(
            "funds.propose_adjustment",
            "withdrawals.assign_withdrawal",
            "withdrawals.propose_reissue",
            "collect.verify_binding",
            "reconciliation.operate_run",
            "reconciliation.handle_difference",
            "reconciliation.propose_resolution",
            "reconciliation.propose_reopening",
        ),
    ),
    Role(
        name="checker",
        meaning="Decides what others ask for: withdrawals, adjustments, payout numbers, receiving accounts.",
        views=BUSINESS,
        may=(
            "withdrawals.approve_withdrawal",
            "withdrawals.assign_withdrawal",
            "withdrawals.approve_reissue",
            "funds.approve_adjustment",
            "collect.approve_binding",
            "reconciliation.handle_difference",
            "reconciliation.approve_resolution",
        ),
    ),
    Role(
        name="finance manager",
        meaning="Decides like a checker, sets payout policies, approves risk rules, may read closed personal data.",
        views=BUSINESS,
        may=(
            "funds.approve_adjustment",
            "withdrawals.approve_withdrawal",
            "withdrawals.assign_withdrawal",
            "withdrawals.approve_reissue",
            "withdrawals.operate_payouts",
            "withdrawals.change_payoutpolicy",
            "risk.approve_rules",
            "risk.confirm_lists",
            "collect.switch_binding",
            "collect.appoint_manager",
            "reconciliation.approve_resolution",
            "reconciliation.sign_off_day",
            "reconciliation.approve_reopening",
            "foundation.reveal_closed",
        ),
    ),
    Role(
        name="risk officer",
        meaning="Writes risk rules and lists; another role approves them.",
        views=BUSINESS,
        may=("risk.edit_rules", "risk.edit_lists", "collect.disable_code"),
    ),
    Role(
        name="operator",
        meaning="Keeps it running: limits, flags, channels, schedules, callbacks, pausing payouts.",
        views=(*MONEY, *SYSTEM),
        may=(
            *_manage("foundation", "limit", "flag"),
            "gateway.change_channelsetting",
            *_manage("gateway", "clientgrade"),
            "payments.change_callbackdelivery",
            "payments.change_abnormalrefund",
            "withdrawals.operate_payouts",
            "withdrawals.change_payoutpolicy",
            "django_celery_beat.change_periodictask",
            "collect.replay_crmrecord",
            "reconciliation.operate_run",
        ),
    ),
    Role(name="auditor", meaning="Sees everything, changes nothing.", views=EVERYTHING),
)

OPPOSITES = (
    ("funds.propose_adjustment", "funds.approve_adjustment"),
    ("withdrawals.propose_reissue", "withdrawals.approve_reissue"),
    ("risk.edit_rules", "risk.approve_rules"),
    ("risk.edit_lists", "risk.confirm_lists"),
    ("collect.verify_binding", "collect.approve_binding"),
    ("reconciliation.propose_resolution", "reconciliation.approve_resolution"),
    ("reconciliation.propose_reopening", "reconciliation.approve_reopening"),
)
"""Two sides of one decision."""


class UnknownPermission(Exception):
    """The table names what no model has."""


def permissions_of(role: Role) -> list[Permission]:
    """The rows of the role's permissions. Raises UnknownPermission."""
    found = {
        f"{row.content_type.app_label}.{row.codename}": row
        for row in Permission.objects.using(roles.alias_for("default")).select_related("content_type")
    }
    missing = [name for name in role.may if name not in found]
    if missing:
        raise UnknownPermission(f"{role.name}: {', '.join(missing)}")
    seen = [
        row
        for name, row in found.items()
        if name.partition(".")[0] in role.views and name.partition(".")[2].startswith("view_")
    ]
    return [*seen, *(found[name] for name in role.may)]


def synchronise() -> None:
    """Makes the groups what the table says; groups of other names are left alone. Safe to repeat."""
    alias = roles.alias_for("default")
    with transaction.atomic(using=alias):
        for role in ROLES:
            group, _ = Group.objects.using(alias).get_or_create(name=role.name)
            group.permissions.set(permissions_of(role))


def after_migrate(*, sender: Any, using: str, apps: Apps, **_: Any) -> None:
    """Receiver of post_migrate: once, behind the last app with models, when all permissions have rows.

    `apps` is what the database was migrated to. After `migrate foundation` alone the tables of other apps are not
    there yet: the groups are left as they are until all of them are.
    """
    last = [config for config in registry.get_app_configs() if config.models_module is not None][-1]
    if sender is last and using == roles.alias_for("default"):
        migrated = {model._meta.label for model in apps.get_models()}
        if migrated.issuperset(model._meta.label for model in registry.get_models()):
            synchronise()
