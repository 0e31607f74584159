from django.apps import AppConfig


class WithdrawalsConfig(AppConfig):
    name = "withdrawals"
    verbose_name = "Withdrawals"

    def ready(self) -> None:
        from foundation import encryption
        from withdrawals import callbacks, jobs  # noqa: F401 - registers subscribers and jobs
        from withdrawals.models import CARD_COLUMN, OPENID_COLUMN, BankCard, WechatAccount, Withdrawal

        card_index = encryption.Index(fields=("card_index", "active_index"), column=CARD_COLUMN)
        encryption.register(model=BankCard, field="card_no", index=card_index)
        encryption.register(model=BankCard, field="holder")
        encryption.register(model=BankCard, field="phone")
        openid_index = encryption.Index(fields=("openid_index",), column=OPENID_COLUMN)
        encryption.register(model=WechatAccount, field="openid", index=openid_index)
        encryption.register(model=WechatAccount, field="holder")
        # A withdrawal's own indexes stay as they are: its approvals are signed over them, and nothing is looked up by
        # them.
        encryption.register(model=Withdrawal, field="payee_account")
        encryption.register(model=Withdrawal, field="payee_name")
