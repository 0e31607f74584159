"""`manage.py load_demo`: the demo world of api.md; writes its log-ins to a JSON file. Never in production."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group as StaffGroup
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from foundation import clock
from identity.models import Employee, Enterprise, Group
from identity.services import directory, staff_codes
from payments.models import BusinessApp
from payments.services import businesses
from withdrawals.services import binding

PASSWORD = "paysys-demo-2026"  # noqa: S105 - the demo world listens on loopback only
ENTERPRISES = (("acme", "顶峰科技", 16), ("lotus", "莲花文化", 4))
GROUP_NAME, GROUP_SIZE = "全员群", 15
PRODUCT_ID, CALLBACK_URL = "demo-shop", "http://127.0.0.1:8700/callbacks"
STAFF = {
    "maker": "maker",
    "checker": "checker",
    "checker2": "checker",
    "manager": "finance manager",
    "risk": "risk officer",
    "auditor": "auditor",
    "ops": "operator",
}
"""Name → role (paysys/roles.py). Two checkers, because large withdrawals need two people."""


class Command(BaseCommand):
    help = "Loads two enterprises, twenty employees, a group and staff users; writes demo.json. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--file", required=True, type=Path)
        parser.add_argument("--base-url", required=True)
        parser.add_argument("--simulator-url", required=True)
        parser.add_argument("--push-url", help="the whole address of the event stream")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.ENVIRONMENT == "production":
            raise CommandError("The demo world is never loaded in production.")
        enterprises, employees, groups = [], [], []
        for code, name, size in ENTERPRISES:
            enterprise = Enterprise.objects.filter(code=code).first()
            if enterprise is None:
                enterprise = directory.create_enterprise(code=code, name=name)
            people = [self._employee(enterprise, number) for number in range(1, size + 1)]
            members = people[:GROUP_SIZE]
            group = Group.objects.filter(enterprise=enterprise, name=GROUP_NAME).first()
            if group is None:
                group = directory.create_group(
                    enterprise_id=enterprise.pk,
                    name=GROUP_NAME,
                    employee_ids=[person.pk for person in members],
                    now=clock.now(),
                )
            enterprises.append({"enterprise": code, "name": name})
            groups.append({"id": group.pk, "name": group.name, "enterprise": code})
            employees += [
                {
                    "enterprise": code,
                    "employee": person.code,
                    "password": PASSWORD,
                    "group_ids": [group.pk] if person in members else [],
                }
                for person in people
            ]
        base_url = options["base_url"]
        world = {
            "base_url": base_url,
            "push_url": options["push_url"],
            "simulator_url": options["simulator_url"],
            "admin_url": f"{base_url}/admin/",
            "enterprises": enterprises,
            "employees": employees,
            "groups": groups,
            "staff": self._staff(),
            "business_apps": [self._business_app()],
        }
        options["file"].write_text(json.dumps(world, ensure_ascii=False, indent=2), encoding="utf-8")
        self.stdout.write(f"demo world: {len(employees)} employees, {len(world['staff'])} staff, {options['file']}")

    def _employee(self, enterprise: Enterprise, number: int) -> Employee:
        code, made_up = f"e{number:02d}", enterprise.pk * 1000 + number
        found = Employee.objects.filter(enterprise=enterprise, code=code).first()
        if found is not None:
            return found
        name = f"员工{number:02d}"
        made = directory.create_employee(
            enterprise_id=enterprise.pk, code=code, name=name, password=PASSWORD, phone=f"138{made_up:08d}"
        )
        binding.bind_wechat(
            employee_id=made.pk,
            enterprise_id=enterprise.pk,
            openid=f"oDemo{made_up:023d}",
            holder=name,
            phone_code=None,
            now=clock.now(),
        )
        return made

    def _business_app(self) -> dict[str, str]:
        """A backend that listens where docs/examples/business_client.py does; a repeat gives it a new secret."""
        if BusinessApp.objects.filter(product_id=PRODUCT_ID).exists():
            made = businesses.rotate_secret(product_id=PRODUCT_ID, now=clock.now())
        else:
            made = businesses.register(
                product_id=PRODUCT_ID,
                name="演示商城",
                enterprise_id=Enterprise.objects.get(code=ENTERPRISES[0][0]).pk,
                callback_url=CALLBACK_URL,
                now=clock.now(),
            )
        return {"product_id": PRODUCT_ID, "secret": made.secret, "callback_url": CALLBACK_URL}

    def _staff(self) -> list[dict[str, Any]]:
        staff = []
        for name, role in STAFF.items():
            user, created = User.objects.get_or_create(username=name, defaults={"is_staff": True})
            if created:
                user.set_password(PASSWORD)
                user.save()
            user.groups.set([StaffGroup.objects.get(name=role)])
            staff.append({"username": name, "password": PASSWORD, "roles": [role], "totp_secret": self._secret(user)})
        admin, created = User.objects.get_or_create(username="admin", defaults={"is_staff": True, "is_superuser": True})
        if created:
            admin.set_password(PASSWORD)
            admin.save()
        staff.append(
            {"username": "admin", "password": PASSWORD, "roles": ["superuser"], "totp_secret": self._secret(admin)}
        )
        return staff

    def _secret(self, user: User) -> str:
        """The secret of a confirmed authenticator, as authenticators take it by hand (base32)."""
        return staff_codes.secret_of(staff_codes.provide(user=user))
