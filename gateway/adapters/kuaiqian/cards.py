"""Bank-card verification by `cnp/ind_auth` (MasMessage XML over two-way TLS with HTTP Basic; the body is not signed).

99bill passes card, name, identity number and mobile to the issuing bank; `00` means that all given particulars belong
together (the bank also texts a code to the mobile, which we do not use). Only codes that public code lists of 99bill
explain as "does not match" or "no such card" are FAILED.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.adapters.kuaiqian import markup, transport, values
from gateway.adapters.kuaiqian.credentials import Credentials
from gateway.adapters.kuaiqian.transport import Link
from gateway.adapters.kuaiqian.values import AnswerInvalid
from gateway.ports import CardVerification, Outcome, Result

PATH = "/cnp/ind_auth"
NAMESPACE = ' xmlns="http://www.99bill.com/mas_cnp_merchant_interface"'
VERSION = "1.0"
CONTENT = "indAuthContent"
ID_CARD = "0"
BIND_TO_MERCHANT = "0"
MATCHES = "00"
NAME, IDENTITY, MOBILE, CARD, PARTICULARS = (
    "name_mismatch",
    "identity_mismatch",
    "mobile_mismatch",
    "card_invalid",
    "particulars_mismatch",
)
REFUSALS: Mapping[str, str] = {
    "I1": NAME,
    "HX": NAME,
    "W4": NAME,
    "I3": IDENTITY,
    "I6": IDENTITY,
    "HZ": IDENTITY,
    "HY": IDENTITY,
    "W2": IDENTITY,
    "IA": MOBILE,
    "HW": MOBILE,
    "W0": MOBILE,
    "CC": MOBILE,
    "14": CARD,
    "33": CARD,
    "41": CARD,
    "54": CARD,
    "62": CARD,
    "20": PARTICULARS,
    "CD": PARTICULARS,
    "W6": PARTICULARS,
    "Y1": PARTICULARS,
}


def verify_card(*, credentials: Credentials, link: Link, request: CardVerification) -> Result:
    """SUCCESS: the bank confirms. FAILED with a code of REFUSALS' values. Else UNKNOWN."""
    values.check_number(values.ORDER_ID, request.verification_no)
    if not credentials.card_merchant_id:
        return transport.unknown("not_contracted")
    fields = {
        "merchantId": credentials.card_merchant_id,
        "terminalId": credentials.card_terminal_id,
        "customerId": request.verification_no,
        "externalRefNumber": request.verification_no,
        "pan": request.card_no,
        "cardHolderName": request.holder_name,
        "idType": ID_CARD if request.identity_no else "",
        "cardHolderId": request.identity_no,
        "phoneNO": request.mobile,
        "bindType": BIND_TO_MERCHANT,
    }
    given = {name: value for name, value in fields.items() if value}
    message = markup.DECLARATION + markup.element(
        "MasMessage",
        markup.texts({"version": VERSION}),
        markup.element(CONTENT, markup.texts(given)),
        attributes=NAMESPACE,
    )

    def work() -> Result:
        content = link.post(
            PATH,
            body=message.encode(),
            content_type=transport.XML_TYPE,
            authorization=(credentials.card_merchant_id, credentials.card_password),
            certificate_file=credentials.card_certificate_file,
        )
        return _read(credentials, request.verification_no, content)

    return transport.ask("verify_card", request.verification_no, work)


def _read(credentials: Credentials, verification_no: str, content: bytes) -> Result:
    root = markup.parse(content)
    if root.name != "masmessage":
        raise AnswerInvalid("content_unknown")
    if root.all("ErrorMsgContent"):
        error = root.child("ErrorMsgContent")
        return transport.unknown(f"card_{error.value('errorCode')}".lower(), error.value("errorMessage"))
    answer = root.child(CONTENT)
    if answer.value("externalRefNumber") != verification_no:
        raise AnswerInvalid("number_mismatch")
    if answer.value("merchantId") != credentials.card_merchant_id:
        raise AnswerInvalid("merchant_mismatch")
    code, message = answer.value("responseCode"), answer.value("responseTextMessage")[:256]
    if code == MATCHES:
        return Result(outcome=Outcome.SUCCESS, message=message)
    if code.upper() in REFUSALS:
        return Result(outcome=Outcome.FAILED, code=REFUSALS[code.upper()], message=message)
    return transport.unknown(f"card_{code}".lower(), message)
