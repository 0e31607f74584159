"""Forms of risk control."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from risk.domain.tables import MAX_ROWS, MAX_SCORE, Mode, Row, RowAction, Thresholds, Until
from risk.domain.versions import NOTE_MAX_LENGTH
from risk.models import ListEntry

ACTION_TEXTS = {
    RowAction.PASS: _("PASS: allow, before all other rules"),
    RowAction.REJECT: _("REJECT: refuse"),
    RowAction.REVIEW: _("REVIEW: a person looks at it"),
    RowAction.SCORE: _("SCORE: only add the score"),
}
MODE_TEXTS = {
    Mode.LIVE: _("LIVE: it counts"),
    Mode.SHADOW: _("SHADOW: logged, changes nothing"),
    Mode.OFF: _("OFF: kept as a template"),
}
UNTIL_TEXTS = {Until.NONE: _("no end"), Until.DAY: _("end of the day"), Until.YEAR: _("end of the year")}


class ContentForm(forms.Form):
    """What a draft says besides its rows."""

    note = forms.CharField(
        label=_("What changes, and why"),
        max_length=NOTE_MAX_LENGTH,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 80}),
    )
    review_score = forms.IntegerField(label=_("Review from score"), min_value=0, max_value=MAX_SCORE)
    reject_score = forms.IntegerField(label=_("Reject from score"), min_value=0, max_value=MAX_SCORE)

    def thresholds(self) -> Thresholds:
        return Thresholds(
            review_score=self.cleaned_data["review_score"], reject_score=self.cleaned_data["reject_score"]
        )


class RowForm(forms.Form):
    """One row. Its condition is judged by the table, after it is stored: a draft may be wrong for a while."""

    position = forms.IntegerField(label=_("Order"), min_value=1, max_value=MAX_ROWS)
    code = forms.CharField(label=_("Code"), max_length=40)
    title_en = forms.CharField(label=_("Title (English)"), max_length=80, widget=forms.TextInput(attrs={"size": 60}))
    title_zh = forms.CharField(label=_("Title (Chinese)"), max_length=80, widget=forms.TextInput(attrs={"size": 60}))
    expression = forms.CharField(
        label=_("When"), max_length=500, widget=forms.Textarea(attrs={"rows": 3, "cols": 80, "spellcheck": "false"})
    )
    action = forms.ChoiceField(label=_("Action"), choices=list(ACTION_TEXTS.items()))
    score = forms.IntegerField(label=_("Score"), min_value=0, max_value=MAX_SCORE, initial=0)
    mode = forms.ChoiceField(label=_("Mode"), choices=list(MODE_TEXTS.items()))
    until = forms.ChoiceField(label=_("A refusal holds until"), choices=list(UNTIL_TEXTS.items()))
    reason_en = forms.CharField(
        label=_("Reason for the employee (English)"),
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs={"size": 80}),
    )
    reason_zh = forms.CharField(
        label=_("Reason for the employee (Chinese)"),
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs={"size": 80}),
    )

    def clean_expression(self) -> str:
        """Line breaks of the text area are only for reading."""
        return " ".join(str(self.cleaned_data["expression"]).split())

    def row(self) -> Row:
        return Row(**self.cleaned_data)


class EntryForm(forms.Form):
    """One entry of a list."""

    kind = forms.ChoiceField(label=_("List"), choices=ListEntry.Kind.choices)
    subject_kind = forms.ChoiceField(label=_("What"), choices=ListEntry.Subject.choices)
    value = forms.CharField(
        label=_("Value"),
        max_length=64,
        widget=forms.TextInput(attrs={"autocomplete": "off", "size": 40}),
        help_text=_("Employee: enterprise code/employee code, or an id. Card and phone: the digits."),
    )
    expires_on = forms.DateField(
        label=_("Last day"),
        widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
        input_formats=["%Y-%m-%d"],
    )
    reason = forms.CharField(label=_("Reason"), max_length=200, widget=forms.TextInput(attrs={"size": 80}))


class ImportForm(forms.Form):
    """A CSV file, or its text pasted."""

    file = forms.FileField(label=_("CSV file"), required=False)
    text = forms.CharField(
        label=_("or its text"), required=False, widget=forms.Textarea(attrs={"rows": 8, "cols": 80}), strip=False
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        file = cleaned.get("file")
        if file is not None:
            try:
                cleaned["text"] = file.read(200_000).decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise forms.ValidationError(_("The file must be UTF-8 text.")) from error
        if not str(cleaned.get("text") or "").strip():
            raise forms.ValidationError(_("Choose a file or paste its text."))
        return cleaned
