"""Begins transactions with START TRANSACTION and leaves the session in autocommit.

Django's own backend switches autocommit off before a transaction and on again behind it: three round trips with the
COMMIT where two do. `_start_transaction_under_autocommit` is the hook that Django calls for it (its SQLite backend
has it, too); switching to what the session already has costs nothing, for mysqlclient knows the server's last answer.

A deadlock ends the whole transaction on the server: a statement that followed in the same block would commit by itself.
So nobody may go on in a block after an OperationalError (foundation.db.transactions.run starts the block anew).
"""

from __future__ import annotations

from django.db.backends.mysql import base


class DatabaseWrapper(base.DatabaseWrapper):
    def _start_transaction_under_autocommit(self) -> None:
        with self.cursor() as cursor:
            cursor.execute("START TRANSACTION")

    def _set_autocommit(self, autocommit: bool) -> None:
        if self.connection.get_autocommit() is not autocommit:
            super()._set_autocommit(autocommit)  # type: ignore[misc]  # django-stubs does not know it
