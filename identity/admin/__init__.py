"""Identity in the admin: the directory, and one-time codes of staff."""

from identity.admin.directory import AccessTokenAdmin, EmployeeAdmin, EnterpriseAdmin, GroupAdmin, ShortMessageAdmin
from identity.admin.entrance import StaffLoginForm
from identity.admin.sessions import RoleMiddleware
from identity.admin.staff import AuthenticatorAdmin, StaffProfileAdmin

__all__ = [
    "AccessTokenAdmin",
    "AuthenticatorAdmin",
    "EmployeeAdmin",
    "EnterpriseAdmin",
    "GroupAdmin",
    "RoleMiddleware",
    "ShortMessageAdmin",
    "StaffLoginForm",
    "StaffProfileAdmin",
]
