"""The form on which an adjustment is proposed: typed yuan become exact fen, typed owners become accounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.core import signing
from django.core.files.uploadedfile import UploadedFile
from django.core.signing import BadSignature
from django.utils.datastructures import MultiValueDict
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from foundation import attachments
from foundation.errors import PaysysError
from funds.domain.adjustments import (
    CUSTOMER_CATEGORIES,
    MAX_EVIDENCE,
    REASON_MAX_LENGTH,
    REASON_MIN_LENGTH,
    Evidence,
    fen_from_typed_yuan,
)
from funds.domain.chart import TITLES, Title
from funds.domain.entries import AccountRef, Bucket, Category, Line
from funds.services import adjustments

LINE_ROWS = 6
CATEGORY_NAMES = {
    Category.RECHARGE: _("recharge"),
    Category.INCOME: _("income"),
    Category.CONSUMPTION: _("consumption"),
    Category.WITHDRAWAL: _("withdrawal"),
    Category.PLATFORM: _("platform"),
}
EVIDENCE_SALT = "funds.adjustment.evidence"


def is_chinese() -> bool:
    return (get_language() or "").lower().startswith("zh")


def title_text(title: Title) -> str:
    """A line of the chart as it is shown: "1110 Channel clearing"."""
    return f"{title.code} {title.name_zh if is_chinese() else title.name}"


def error_text(error: PaysysError) -> str:
    """What a person reads of a refusal: the sentence, and what exactly is wrong."""
    sentence = error.message(get_language() or "en")
    problem = error.details.get("problem")
    return f"{sentence} {problem}" if problem else sentence


def _accounts() -> list[tuple[str, str]]:
    return [("", "---------"), *((title.code, title_text(title)) for title in TITLES)]


class LineForm(forms.Form):
    """One row: an account, and an amount on exactly one side. A row left empty is no line."""

    account = forms.ChoiceField(label=_("Account"), choices=_accounts, required=False)
    owner = forms.CharField(label=_("Owner"), max_length=80, required=False)
    category = forms.ChoiceField(
        label=_("Category"),
        choices=[("", "---------"), *((item.value, CATEGORY_NAMES[item]) for item in CUSTOMER_CATEGORIES)],
        required=False,
    )
    debit = forms.CharField(label=_("Debit ¥"), max_length=24, required=False)
    credit = forms.CharField(label=_("Credit ¥"), max_length=24, required=False)

    def __init__(self, data: Mapping[str, Any] | None = None, *, number: int) -> None:
        super().__init__(data, prefix=f"line{number}")
        self.number = number
        for name in ("debit", "credit"):
            self.fields[name].widget.attrs |= {"inputmode": "decimal", "class": "amount", "autocomplete": "off"}
        for name, field in self.fields.items():
            field.widget.attrs["aria-label"] = f"{field.label} {number}"
            if name == "owner":
                field.widget.attrs["size"] = "22"

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        cleaned["line"] = None
        if not self.errors and any(cleaned.get(name) for name in ("account", "owner", "category", "debit", "credit")):
            cleaned["line"] = self._line(cleaned)
        return cleaned

    def _line(self, cleaned: Mapping[str, Any]) -> Line:
        if not cleaned["account"]:
            raise forms.ValidationError(_("Choose an account."))
        try:
            account = adjustments.account_for(code=cleaned["account"], owner=cleaned["owner"])
        except adjustments.AdjustmentInvalid as error:
            raise forms.ValidationError(str(error.details["problem"])) from error
        return Line(
            account=account,
            bucket=Bucket.AVAILABLE,
            amount_fen=self._amount_fen(cleaned),
            category=self._category(account, cleaned["category"]),
        )

    @staticmethod
    def _amount_fen(cleaned: Mapping[str, Any]) -> int:
        """Credit is positive, as in the ledger."""
        if bool(cleaned["debit"]) is bool(cleaned["credit"]):
            raise forms.ValidationError(_("Type an amount on one side: debit or credit."))
        try:
            amount_fen = fen_from_typed_yuan(cleaned["debit"] or cleaned["credit"])
        except ValueError as error:
            raise forms.ValidationError(_("Type the amount in yuan, such as 1,234.56.")) from error
        if amount_fen == 0:
            raise forms.ValidationError(_("The amount must not be zero."))
        return amount_fen if cleaned["credit"] else -amount_fen

    @staticmethod
    def _category(account: AccountRef, chosen: str) -> Category:
        if account.is_platform:
            if chosen:
                raise forms.ValidationError(_("Accounts of the platform have no category."))
            return Category.PLATFORM
        if not chosen:
            raise forms.ValidationError(_("Choose what this means for the customer's balance."))
        return Category(chosen)


class FilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True

    def value_from_datadict(self, data: Any, files: MultiValueDict[str, UploadedFile], name: str) -> list[UploadedFile]:
        return list(files.getlist(name))


class FilesField(forms.Field):
    """Several files at once. Their types and sizes are judged where they are stored."""

    widget = FilesInput


class ProposeForm(forms.Form):
    """Everything but the lines. Files that arrived once are kept by a signed list, so that no error loses them."""

    reason = forms.CharField(
        label=_("Reason"),
        min_length=REASON_MIN_LENGTH,
        max_length=REASON_MAX_LENGTH,
        widget=forms.Textarea(attrs={"rows": 4, "cols": 80}),
        help_text=_("10 to 500 characters: what went wrong, and why this puts it right."),
    )
    order_no = forms.CharField(
        label=_("Related order"), max_length=32, required=False, widget=forms.TextInput(attrs={"size": 40})
    )
    evidence = FilesField(
        label=_("Evidence"),
        required=False,
        help_text=_("1 to 5 files of up to 10 MB each: PDF, PNG, JPEG, XLSX, ZIP, CSV or UTF-8 text."),
    )
    kept = forms.CharField(widget=forms.HiddenInput, required=False)
    request_key = forms.CharField(widget=forms.HiddenInput, max_length=64, min_length=16)

    def clean_kept(self) -> list[Evidence]:
        try:
            pairs = signing.loads(self.cleaned_data["kept"], salt=EVIDENCE_SALT) if self.cleaned_data["kept"] else []
        except BadSignature as error:
            raise forms.ValidationError(_("Attach the evidence again.")) from error
        return [Evidence(digest=digest, name=name) for digest, name in pairs]

    def clean_request_key(self) -> str:
        key: str = self.cleaned_data["request_key"]
        if not key.isascii() or not key.isalnum():
            raise forms.ValidationError(_("Open the form again."))
        return key


def sign_evidence(items: Sequence[Evidence]) -> str:
    """The hidden list of files that are stored already."""
    return signing.dumps([[item.digest, item.name] for item in items], salt=EVIDENCE_SALT) if items else ""


def too_large(file: UploadedFile) -> bool:
    """Judged before a byte of it is read into memory."""
    return (file.size or 0) > attachments.MAX_BYTES


__all__ = [
    "CATEGORY_NAMES",
    "LINE_ROWS",
    "MAX_EVIDENCE",
    "LineForm",
    "ProposeForm",
    "error_text",
    "is_chinese",
    "sign_evidence",
    "title_text",
    "too_large",
]
