"""The grab as the requirements' words would be built first, the baseline for CPU per settled grab.

Django's usual middleware, DRF as it comes, the token looked up by the ORM, one Redis command after the other (packet,
repeat, LPOP of an amount, HSETNX of the receiver), one Celery task for each share that was taken, and in the task one
transaction by the ORM: two accounts locked by `select_for_update`, an order, two lines, two saves.

`benchmarks.grab` starts it by granian, as the product, and a Celery worker beside it (broker: the run's Redis). It is
a baseline, never a part of the product: LPOP and HSETNX are two steps, and who clicks twice at once empties a packet.

POST /literal/<packet id>/grab
"""

from __future__ import annotations

import os
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.grab_literal_settings")
application = get_wsgi_application()

from celery import Celery  # noqa: E402 - needs the apps, which the line above loads
from django.conf import settings  # noqa: E402
from django.db import models, transaction  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import serializers  # noqa: E402
from rest_framework.authentication import BaseAuthentication  # noqa: E402
from rest_framework.exceptions import AuthenticationFailed  # noqa: E402
from rest_framework.permissions import IsAuthenticated  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from foundation import clock, redis  # noqa: E402
from foundation.db import sharding  # noqa: E402
from identity.models import AccessToken, Employee  # noqa: E402
from identity.services import login  # noqa: E402

app = Celery("literal", broker=settings.REDIS_URL)
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True


@sharding.stored_on("default")
class Wallet(models.Model):
    """What an employee has."""

    employee_id = models.BigIntegerField(primary_key=True)
    balance_fen = models.BigIntegerField(default=0)

    class Meta:
        app_label = "literal"

    def __str__(self) -> str:
        return str(self.employee_id)


@sharding.stored_on("default")
class Order(models.Model):
    """A share on its way to its receiver."""

    packet_id = models.CharField(max_length=32)
    receiver_id = models.BigIntegerField()
    amount_fen = models.BigIntegerField()
    state = models.CharField(max_length=16)
    created_at = models.DateTimeField()

    class Meta:
        app_label = "literal"
        constraints = [models.UniqueConstraint(fields=["packet_id", "receiver_id"], name="literal_once")]

    def __str__(self) -> str:
        return self.packet_id


@sharding.stored_on("default")
class Line(models.Model):
    """One side of an order."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT)
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT)
    amount_fen = models.BigIntegerField()
    created_at = models.DateTimeField()

    class Meta:
        app_label = "literal"

    def __str__(self) -> str:
        return f"{self.order_id}: {self.amount_fen}"


TABLES = (Wallet, Order, Line)


@app.task  # type: ignore[untyped-decorator]
def settle(packet_id: str, sender_id: int, receiver_id: int, amount_fen: int) -> None:
    """Moves one share."""
    with transaction.atomic():
        sender = Wallet.objects.select_for_update().get(pk=sender_id)
        receiver = Wallet.objects.select_for_update().get(pk=receiver_id)
        now = clock.now()
        order = Order.objects.create(
            packet_id=packet_id, receiver_id=receiver_id, amount_fen=amount_fen, state="SUCCEEDED", created_at=now
        )
        Line.objects.create(order=order, wallet=sender, amount_fen=-amount_fen, created_at=now)
        Line.objects.create(order=order, wallet=receiver, amount_fen=amount_fen, created_at=now)
        sender.balance_fen -= amount_fen
        sender.save()
        receiver.balance_fen += amount_fen
        receiver.save()


class Bearer(BaseAuthentication):
    """The row of the token, and its employee."""

    def authenticate(self, request: Request) -> tuple[Employee, None]:
        digest = login.digest_of(request.headers.get("Authorization", "").removeprefix("Bearer "))
        row = AccessToken.objects.select_related("employee").filter(digest=digest, expires_at__gt=clock.now()).first()
        if row is None:
            raise AuthenticationFailed
        return row.employee, None


class GrabSerializer(serializers.Serializer[dict[str, Any]]):
    """What the winner is told."""

    result = serializers.CharField()
    amount_fen = serializers.IntegerField()


class GrabView(APIView):
    """One share of a packet for the caller."""

    authentication_classes = (Bearer,)
    permission_classes = (IsAuthenticated,)

    def post(self, request: Request, packet_id: str) -> Response:
        """200 with the amount; 409 when there is none left or he has one."""
        store, me = redis.client(), request.user.pk
        sender_id = store.get(f"literal:{packet_id}:sender")
        if sender_id is None:
            return Response({"code": "not_found"}, status=404)
        if store.hget(f"literal:{packet_id}:taken", me) is not None:
            return Response({"code": "already"}, status=409)
        amount = store.lpop(f"literal:{packet_id}:shares")
        if amount is None:
            return Response({"code": "redpacket_empty"}, status=409)
        store.hsetnx(f"literal:{packet_id}:taken", me, amount)
        settle.delay(packet_id, int(sender_id), me, int(amount))
        return Response(GrabSerializer({"result": "grabbed", "amount_fen": int(amount)}).data)


urlpatterns = [path("literal/<str:packet_id>/grab", GrabView.as_view())]
