"""No tables: names under which pages of the admin carry their permission."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from foundation.db.fields import AsciiCharField


class EnterpriseBooks(models.Model):
    """All accounts of one enterprise, its own and its employees'; permission `funds.view_enterprisebooks`."""

    enterprise_id = AsciiCharField(max_length=32, primary_key=True)

    class Meta:
        managed = False
        default_permissions = ("view",)
        verbose_name = _("enterprise's books")
        verbose_name_plural = _("enterprises' books")

    def __str__(self) -> str:
        return self.enterprise_id
