"""Log-in and groups."""

from __future__ import annotations

from typing import cast

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from foundation import clock
from foundation.api.door import client_address
from foundation.api.schema import error_responses
from foundation.api.serializers import StrictSerializer, TextField, read
from identity import selectors
from identity.models import Employee, Group
from identity.services import directory, login, phone_codes, validator


class LoginRequest(StrictSerializer):
    enterprise = TextField(max_length=32)
    employee = TextField(max_length=32)
    password = TextField(max_length=128, trim_whitespace=False)


class EmployeeSerializer(serializers.Serializer):
    enterprise = serializers.CharField(source="enterprise.code")
    employee = serializers.CharField(source="code")
    name = serializers.CharField()


class LoginAnswer(serializers.Serializer):
    access_token = serializers.CharField()
    expires_at = serializers.DateTimeField()
    employee = EmployeeSerializer()


class GroupRequest(StrictSerializer):
    name = TextField(max_length=directory.NAME_MAX_LENGTH)
    employees = serializers.ListField(
        child=TextField(max_length=32), min_length=1, max_length=directory.GROUP_MAX_MEMBERS
    )


class GroupSerializer(serializers.Serializer):
    id = serializers.CharField()
    name = serializers.CharField()
    employees = serializers.SerializerMethodField()

    def get_employees(self, group: Group) -> list[str]:
        return [member.employee.code for member in group.members.all()]


class GroupAnswer(serializers.Serializer):
    group = GroupSerializer()


class GroupListAnswer(serializers.Serializer):
    items = GroupSerializer(many=True)


class PhoneCodeRequest(StrictSerializer):
    purpose = serializers.ChoiceField(choices=[purpose.value for purpose in phone_codes.Purpose])


class PhoneCodeAnswer(serializers.Serializer):
    expires_in_seconds = serializers.IntegerField()


class TokenRequest(StrictSerializer):
    kind = serializers.ChoiceField(choices=[kind.value for kind in validator.Kind])


class TokenAnswer(serializers.Serializer):
    request_id = serializers.CharField()


class PasswordRequest(StrictSerializer):
    old_password = TextField(max_length=128, trim_whitespace=False)
    new_password = TextField(max_length=128, trim_whitespace=False)


def address_of(request: Request) -> str:
    """Who asks: the client where the proxies are counted (foundation.api.door), else whoever connects to us."""
    return client_address(request) or str(request.META.get("REMOTE_ADDR", ""))


class LoginView(APIView):
    """Log in with enterprise, employee and password."""

    authentication_classes: list = []
    permission_classes: list = []

    @extend_schema(
        operation_id="auth_login",
        request=LoginRequest,
        responses={200: LoginAnswer, **error_responses(400, 401, 413, 415, 429)},
        auth=[],
    )
    def post(self, request: Request) -> Response:
        data = read(LoginRequest, request)
        issued = login.log_in(
            enterprise_code=data["enterprise"],
            employee_code=data["employee"],
            password=data["password"],
            now=clock.now(),
            address=address_of(request),
        )
        return Response(LoginAnswer(issued).data)


class PasswordView(APIView):
    """Change the own password. Every log-in ends, this one too: log in again with the new one."""

    @extend_schema(
        operation_id="auth_password_update",
        request=PasswordRequest,
        responses={204: None, **error_responses(400, 401, 413, 415, 429)},
    )
    def put(self, request: Request) -> Response:
        data = read(PasswordRequest, request)
        login.change_password(
            employee_id=cast(Employee, request.user).pk,
            old_password=data["old_password"],
            new_password=data["new_password"],
            now=clock.now(),
            address=address_of(request),
        )
        return Response(status=204)


class GroupsView(APIView):
    """The own chat groups; a new one."""

    @extend_schema(operation_id="groups_list", responses={200: GroupListAnswer, **error_responses(401)})
    def get(self, request: Request) -> Response:
        groups = selectors.list_groups(employee=cast(Employee, request.user))
        return Response({"items": GroupSerializer(groups, many=True).data})

    @extend_schema(
        operation_id="groups_create",
        request=GroupRequest,
        responses={201: GroupAnswer, **error_responses(400, 401, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        data = read(GroupRequest, request)
        group = directory.create_group_of(
            creator=cast(Employee, request.user), name=data["name"], employee_codes=data["employees"], now=clock.now()
        )
        selectors.load_members(groups=[group])
        return Response({"group": GroupSerializer(group).data}, status=201)


class ValidatorTokensView(APIView):
    """Ask for a validator token. It arrives as event `validator.token` on the caller's push channel, never here."""

    @extend_schema(
        operation_id="validator_tokens_create",
        request=TokenRequest,
        responses={202: TokenAnswer, **error_responses(400, 401, 413, 415, 429, 503)},
    )
    def post(self, request: Request) -> Response:
        data = read(TokenRequest, request)
        request_id = validator.issue(
            employee=cast(Employee, request.user), kind=validator.Kind(data["kind"]), now=clock.now()
        )
        return Response({"request_id": request_id}, status=202)


class PhoneCodesView(APIView):
    """Ask for a code by short message to the employee's registered phone. The answer never contains it."""

    @extend_schema(
        operation_id="auth_phone_codes_create",
        request=PhoneCodeRequest,
        responses={202: PhoneCodeAnswer, **error_responses(400, 401, 413, 415, 422, 429, 503)},
    )
    def post(self, request: Request) -> Response:
        data = read(PhoneCodeRequest, request)
        phone_codes.send(
            employee_id=cast(Employee, request.user).pk,
            purpose=phone_codes.Purpose(data["purpose"]),
            now=clock.now(),
        )
        return Response({"expires_in_seconds": int(phone_codes.LIFE.total_seconds())}, status=202)
